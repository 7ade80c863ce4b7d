"""Examples of HRMS for Stage I: results of classical methods, or true MS one scale down."""

from __future__ import annotations

import torch

from clippan_lite import classical
from clippan_lite.data import Pair

#: Classical methods whose results "mixed" shows as HRMS, a random one per crop, so that no single
#: method's look is learned.
MIXED = ("BDSD", "GSA", "MTF-GLP-HPM")


def check_examples(examples: str) -> None:
    """Refuse a name that :func:`hrms_examples` does not know (ValueError with the known ones)."""
    methods = [name for name in classical.METHODS if name != "EXP"]
    known = ("mixed", "reduced", *methods)
    if examples not in known:
        raise ValueError(f"unknown HRMS examples {examples!r}: expected one of {', '.join(known)}")


def hrms_examples(pair: Pair, examples: str = "mixed") -> dict[str, torch.Tensor]:
    """Images ``(C, H, W)`` in DN that Stage I takes for HRMS, under names that begin with "hrms".

    Args:
        pair: the scene.
        examples: ``"mixed"`` (:data:`MIXED`), one classical method, or ``"reduced"``: the truth of
            a pair made by :func:`clippan_lite.data.reduced`.

    Raises:
        ValueError: unknown method, or no truth for ``"reduced"``.
    """
    check_examples(examples)
    if examples == "reduced":
        if pair.truth is None:
            raise ValueError(
                f"examples='reduced' needs a pair with truth, found {pair.name}; "
                "pass data.reduced(pair)"
            )
        return {"hrms": pair.truth}
    methods = MIXED if examples == "mixed" else (examples,)
    return {f"hrms {method}": classical.fuse(method, pair) for method in methods}
