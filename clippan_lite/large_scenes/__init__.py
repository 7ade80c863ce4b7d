"""Fusing scenes of any size on disk, window by window, by one process or several.

Begin with :func:`clippan_lite.large_scenes.fusing.fuse_scene`. This wing may import all of the method, ``data`` and
``classical``; the method knows nothing of it.
"""
