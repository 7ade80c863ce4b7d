"""clippan-lite: unsupervised pansharpening supervised by CLIP and a sentence.

Import the modules you need, for example ``from clippan_lite import metrics, training``.
This file imports nothing heavy: neither open_clip nor matplotlib is loaded by ``import clippan_lite``.
"""

import os

__version__ = "0.1.0"

# Threads that wait should sleep, not spin: with two programs on two cores, spinning made training four to five times
# slower, while sleeping costs an idle machine 3 % (measured, notebooks/LOG.md). Read when torch loads, so it works for
# the command line and the kernels it starts; a value that is already set is left alone.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
