"""How the shipped weights were made: the small CLIP and the fusion networks.

Begin with ``clip``: ``python -m clippan_lite.pretraining.clip``. The method does not import this
wing.
"""
