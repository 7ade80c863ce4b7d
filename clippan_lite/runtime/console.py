"""What commands print: every finding once, and a hint on a busy machine."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import TextIO

LOAD = Path("/proc/loadavg")
FINDINGS = ("Note:", "Registration:", "device:")  # how lines begin that are not repeated


class Once(io.TextIOBase):
    """Standard output where no finding appears twice: a command may read the same files again."""

    def __init__(self, target: TextIO):
        self.target, self.seen, self.skips = target, {"\n"}, False

    def write(self, text: str) -> int:
        """Pass a text on, unless it is a finding that has been printed."""
        if text == "\n" and self.skips:
            self.skips = False
        elif text.startswith(FINDINGS) and text in self.seen:
            self.skips = True  # print() writes the end of the line by itself
        else:
            self.seen.add(text)
            self.target.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass the wish on."""
        self.target.flush()

    def isatty(self) -> bool:
        """As the target says."""
        return self.target.isatty()


def tell_if_busy() -> None:
    """Print a hint where other programs keep so many cores busy that threads wait for each other.

    Linux tells how many threads run at a moment; elsewhere nothing is said.
    """
    import torch  # here, because --help answers without it

    cores, counts = os.cpu_count() or 1, []
    if torch.get_num_threads() == 1 or not LOAD.is_file():
        return
    for _ in range(5):
        counts.append(int(LOAD.read_text().split()[3].split("/")[0]) - 1)  # one of them reads
        time.sleep(0.01)
    others = sorted(counts)[2]
    if others > cores - torch.get_num_threads() and others >= cores / 2:
        print(
            f"Note: other programs keep {others} of {cores} cores busy; with OMP_NUM_THREADS=1 in "
            "the environment this runs several times faster beside them"
        )
