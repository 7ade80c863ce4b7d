"""The paper's claims beside what the recorded studies found: a table whose verdicts follow from the figures.

Figures of the paper are quoted from public notes on arXiv 2511.10896. Ours are differences paired by seed, with
Student's 95 % interval; a cell counts only where the bootstrap's interval leaves out 0 as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from clippan_lite.experiments import sweep
from clippan_lite.runtime import notebooks

#: metric -> (decimals, unit)
SHOWN = {
    "PSNR": (2, " dB"),
    "SAM": (2, " degrees"),
    "QNR": (3, ""),
    "D_lambda": (3, ""),
    "direction cosine": (2, ""),
}


@dataclass(frozen=True)
class Claim:
    """One claim: what the paper says, and which differences of a study would bear it out.

    Attributes:
        says: the claim, in our words.
        paper: the paper's figure; "none public" where none is.
        study: name of the study.
        pairs: (arm, arm that it is compared with), one difference each per scene.
        metric: the figure that is compared.
        rises: whether the claim wants it to rise.
        note: what was different here, or what the figure means.
        size: the paper's difference, where it is in the same metric.
    """

    says: str
    paper: str
    study: str
    pairs: tuple[tuple[str, str], ...]
    metric: str
    rises: bool
    note: str = ""
    size: float | None = None


_ALL, _UNSUP, _D = "unsup +L_ship +L_d", "unsup", "unsup +L_d"
CLAIMS = (
    Claim(
        "CLIPPan lowers D_lambda by 79 %", ".0140 to .0030 (ArbRPN, QuickBird)", "A_losses",
        ((_ALL, "spec+spat"),), "D_lambda", False,
        "-90, -84 and -72 %, all terms against L_spec + L_spat (EXP's D_lambda is 0); no QuickBird scene",
    ),
    Claim(
        "... and L_d is what lowers it", "none public", "A_losses", ((_D, _UNSUP),), "D_lambda", False,
        "beside the same losses without L_d",
    ),
    Claim(
        "CLIPPan lifts QNR by .011", ".9582 to .9691 (ArbRPN, QuickBird)", "A_losses",
        ((_ALL, "spec+spat"),), "QNR", True, "all terms together; L_QNR trains on QNR itself", 0.011,
    ),
    Claim("... and L_d is what lifts it", "none public", "A_losses", ((_D, _UNSUP),), "QNR", True),
    Claim(
        "L_QNR brings the fused image nearer to the truth", "+2.92 dB (WV3)", "A_losses",
        ((_UNSUP, "spec+spat"),), "PSNR", True, "weight 1",
    ),
    Claim(
        "L_d alone (beside L_spec, L_spat and L_QNR) brings it nearer", "+0.18 dB (WV3)", "A_losses",
        ((_D, _UNSUP),), "PSNR", True,
    ),
    Claim(
        "a teacher's pseudo-labels (L_ship) bring it nearer", "+2.35 dB (WV3)", "A_losses", ((_ALL, _D),), "PSNR",
        True, "beside L_d (without it +.12, +.17, +.26); our teacher is the same network, trained one scale down", 2.35,
    ),
    Claim(
        "L_d still helps beside L_ship (the control that the paper leaves out)", "missing", "A_losses",
        ((_ALL, "unsup +L_ship"),), "PSNR", True,
    ),
    Claim(
        "it takes a trained CLIP", "missing", "A_losses", ((_D, "L_d, random CLIP"),), "PSNR", True,
        "against random weights, adapted alike",
    ),
    Claim(
        "it takes the right sentence", "missing", "A_losses", ((_D, "L_d, nonsense"), (_D, "L_d, wrong")), "PSNR",
        True, "against nonsense and the opposite sentence, CLIP adapted to each",
    ),
    Claim(
        "the sentence reaches the image at all", "missing", "A_losses", ((_D, "L_d, swapped after"),), "PSNR", True,
        "against the opposite sentence asked of the CLIP adapted to Wald's",
    ),
    Claim(
        "every backbone gains", "five of five", "B_backbones", (("with L_d", "without"),), "PSNR", True,
        "per backbone and scene",
    ),
    Claim(
        "Wald's protocol is the best prompt", "named best, figures not public", "C_prompts",
        tuple(("wald", other) for other in ("khan", "quality", "content", "wrong", "an image", "no L_d")), "PSNR", True,
        "against five other sentences and none",
    ),
    Claim(
        "each loss of Stage I helps", "stated, no figure", "F_stage_one",
        tuple(("paper's Stage I", other) for other in ("no InterMCL", "no IntraMCL", "no fusion-aware")), "PSNR", True,
        "of the fused image",
    ),
    Claim(
        "Stage I is needed", "none public", "F_stage_one", (("paper's Stage I", "0 steps"),), "PSNR", True,
        "against the un-adapted CLIP",
    ),
    Claim(
        "a learned stem beats PCA and RGB", "stated, no figure", "F_stage_one",
        (("paper's Stage I", "stem PCA"), ("paper's Stage I", "stem RGB")), "PSNR", True,
    ),
)  # fmt: skip


def results_folder() -> Path:
    """Where the recorded tables are: ``notebooks/studies/results``."""
    return notebooks.notebooks_folder() / "studies" / "results"


def judged(claim: Claim, folder: Path | None = None) -> dict:
    """One claim and what the recorded study says of it.

    Returns:
        dict: ``measured`` (how much of the study, where not all), ``verdict``, and ``cells`` (from `sweep.effects`, one
        per pair, scene and backbone).

    Raises:
        ValueError: the study's table has none of the claim's arms.
    """
    path = Path(folder or results_folder()) / f"{claim.study}.csv"
    if not path.is_file():
        return {
            "cells": [],
            "measured": "",
            "verdict": f"cannot be tested here: {claim.study} has not been measured",
        }
    rows, facts = sweep.load(path)
    cells = []
    for arm, other in claim.pairs:
        found = sweep.effects(rows, {**facts, "against": {arm: other}}, by=("scene", "backbone"))
        cells += [cell for cell in found if cell["metric"] == claim.metric and cell["n"] > 1]
    if not cells:
        raise ValueError(
            f"{path.name} holds no {claim.metric} for {claim.says!r}: expected arms {claim.pairs}"
        )
    said = verdict(cells, claim.rises)
    if said.startswith("reproduced") and claim.size is not None:
        reached = any(low <= claim.size <= high for low, high in (cell["t95"] for cell in cells))
        said += "" if reached else " in sign, not in size"
    points = facts["points"]
    total = sum(points.values())
    measured = (
        f"{points['finished']} of {total} points of the study measured"
        if points["finished"] < total
        else ""
    )
    return {"cells": cells, "measured": measured, "verdict": said}


def verdict(cells: list[dict], rises: bool) -> str:
    """``reproduced``, ``partly``, ``not`` or ``not shown``: by how many cells are clear of 0, and on which side."""
    clear = [(cell["difference"] > 0) == rises for cell in cells if cell["clear"]]
    helped, harmed, n = sum(clear), len(clear) - sum(clear), len(cells)
    if helped == n:
        return "reproduced" if n == 1 else f"reproduced ({n} of {n})"
    told = f"{helped} of {n} clear" + (f", {harmed} the other way" if harmed else "")
    return f"{'partly' if helped else 'not' if harmed else 'not shown'} ({told})"


def figure(cells: list[dict], metric: str) -> str:
    """Our figures in a cell of the table: each scene's, or the range of many."""
    digits, unit = SHOWN[metric]
    seeds = sorted({cell["n"] for cell in cells})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}"
    if len(cells) > 4:
        changes = sorted(cell["difference"] for cell in cells)
        middle = median(changes)
        return f"{changes[0]:+.{digits}f} to {changes[-1]:+.{digits}f}{unit}, median {middle:+.{digits}f} ({n} each)"
    many = len({cell["against"] for cell in cells}) > 1
    parts = []
    for cell in cells:
        where = ", ".join(
            filter(
                None,
                [
                    cell.get("scene"),
                    cell.get("backbone"),
                    f"against {cell['against']}" if many else "",
                ],
            )
        )
        low, high = cell["t95"]
        parts.append(
            f"{where} {cell['difference']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
        )
    return "; ".join(parts) + f"{unit} ({n})"


HEAD = ("claim", "paper", "here: change, 95 % interval", "verdict")


def table(folder: Path | None = None) -> list[tuple[str, str, str, str]]:
    """Rows of the table of claims, under :data:`HEAD`."""
    rows = []
    for claim in CLAIMS:
        found = judged(claim, folder)
        ours = f"{claim.metric} {figure(found['cells'], claim.metric)}" if found["cells"] else ""
        rows.append(
            (
                claim.says,
                claim.paper,
                "; ".join(filter(None, [ours, claim.note, found["measured"]])),
                found["verdict"],
            )
        )
    return rows


def markdown(folder: Path | None = None) -> str:
    """The table of claims as in the README and chapter 07; the report has the same rows."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    lines += [
        f"| {says} | {paper} | {here} | **{verdict}** |"
        for says, paper, here, verdict in table(folder)
    ]
    return "\n".join(lines)
