"""clippan-lite: unsupervised pansharpening supervised by CLIP and a sentence.

Import the modules you need, for example ``from clippan_lite import metrics, training``.
This file imports nothing heavy: neither open_clip nor matplotlib is loaded by ``import clippan_lite``.
"""

import os

__version__ = "0.1.0"

# Threads that wait should soon sleep instead of spinning: with two programs on two cores, spinning made training eleven
# times slower; with this limit less than three times, at 2 % alone (measured, notebooks/LOG.md). Read when torch loads,
# so it works for the command line and the kernels it starts; GNU OpenMP only; a value that is set is left alone.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
