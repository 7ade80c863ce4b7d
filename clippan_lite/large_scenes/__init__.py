"""Fusing scenes of any size on disk, window by window, in one process or several.

Begin with :func:`clippan_lite.large_scenes.fusing.fuse_scene`. This wing may import the whole
method, ``data`` and ``classical``. The method knows nothing of it.
"""
