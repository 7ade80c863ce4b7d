"""clippan-lite: unsupervised pansharpening supervised by CLIP and a sentence.

Import the modules you need, for example ``from clippan_lite import metrics, training``.
This file imports nothing heavy: neither open_clip nor matplotlib is loaded by ``import clippan_lite``.
"""

__version__ = "0.1.0"
