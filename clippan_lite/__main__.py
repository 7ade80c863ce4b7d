"""``python -m clippan_lite`` is ``clippan-lite``."""

import sys

from clippan_lite.cli import main

if __name__ == "__main__":
    sys.exit(main())
