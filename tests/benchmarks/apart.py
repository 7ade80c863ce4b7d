"""Code in a process of its own, so that its memory and seconds are its own."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def printed(code: str, *arguments: object, paths: tuple[object, ...] = ()):
    """What code prints as JSON in its last line; ``paths`` come first where it imports.

    Code may import this module, for `forget_peak` and `peak`.
    """
    where = [*map(str, paths), str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(where)},
        cwd=tempfile.gettempdir(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def forget_peak() -> None:
    """Begin to watch the peak of memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """GiB of this process at its peak. (ru_maxrss would be inherited from the parent.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
