"""The package's version and folder, where every module may read them."""

from pathlib import Path

VERSION = "0.1.0"
FOLDER = Path(__file__).resolve().parents[1]
