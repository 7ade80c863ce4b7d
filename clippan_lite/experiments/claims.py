"""The paper's claims, and our questions, beside what the recorded studies found.

Figures of the paper are quoted from public notes on arXiv 2511.10896. Ours are differences paired
by seed, with Student's 95 % interval. `statistics.outcomes` decides what counts: a difference, or
equality within a margin, with five pairs or more, corrected for the number of cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from clippan_lite.config import recipe
from clippan_lite.experiments import statistics, tables
from clippan_lite.runtime import notebooks

Cells = Sequence[dict[str, Any]]  # from `tables.effects`: texts, numbers and intervals
HEAD = ("claim or question", "paper", "study", "here: change, 95 % interval", "verdict")
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
    """A claim of the paper or a question of ours, and which differences of a study bear it out.

    Attributes:
        says: the claim, in our words.
        paper: the paper's figure, or how it is stated; empty where the question is ours.
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
    metric: str = "PSNR"
    rises: bool = True
    note: str = ""
    size: float | None = None


def _against(arm: str, *others: str) -> tuple[tuple[str, str], ...]:
    return tuple((arm, other) for other in others)


ALL, SHIP, L_D, STAGE_ONE = "unsup +L_ship +L_d", "unsup +L_ship", "unsup +L_d", "paper's Stage I"
ADAPTED_L_D = "adapted +L_d"
CLAIMS = (
    Claim(
        "CLIPPan lowers D_lambda by 79 %",
        "0.0140 to 0.0030 (ArbRPN, QuickBird)",
        "A_losses",
        _against(ALL, "spec+spat"),
        "D_lambda",
        rises=False,
        note="-90, -84 and -72 %, all terms against L_spec + L_spat, a weaker baseline than the "
        "paper's; PSNR of the same change -1.52, +0.46, +0.10 dB; EXP's D_lambda is 0",
        size=-0.011,
    ),
    Claim(
        "... and L_d is what lowers it",
        "",
        "A_losses",
        _against(L_D, "unsup"),
        "D_lambda",
        rises=False,
        note="beside L_QNR; without L_QNR it does lower it on both real scenes",
    ),
    Claim(
        "CLIPPan lifts QNR by 0.011",
        "0.9582 to 0.9691 (ArbRPN, QuickBird)",
        "A_losses",
        _against(ALL, "spec+spat"),
        "QNR",
        note="all terms together; L_QNR trains on QNR itself",
        size=0.011,
    ),
    Claim("... and L_d is what lifts it", "", "A_losses", _against(L_D, "unsup"), "QNR"),
    Claim(
        "L_QNR brings the fused image nearer to the truth",
        "+2.92 dB (WV3)",
        "A_losses",
        _against("unsup", "spec+spat"),
        note="weight 1",
    ),
    Claim(
        "L_d alone (beside L_spec, L_spat and L_QNR) brings it nearer",
        "+0.18 dB (WV3)",
        "A_losses",
        _against(L_D, "unsup"),
    ),
    Claim(
        "a teacher's pseudo-labels (L_ship) bring it nearer",
        "+2.35 dB (WV3)",
        "A_losses",
        _against(ALL, L_D),
        note="beside L_d (without it +0.12, +0.17, +0.26); our teacher is the same network, "
        "trained one scale down",
        size=2.35,
    ),
    Claim(
        "L_d still helps beside L_ship",
        "",
        "A_losses",
        _against(ALL, SHIP),
        note="the quoted table of the paper lacks this control",
    ),
    Claim(
        "it takes a trained CLIP",
        "",
        "A_losses",
        _against(L_D, "L_d, random CLIP"),
        note="against random weights, adapted alike, which leave hardly any L_d: cosine 0.98 to "
        "1.00, not 0.87 to 0.92",
    ),
    Claim(
        "it takes the right sentence",
        "",
        "A_losses",
        _against(L_D, "L_d, nonsense", "L_d, wrong"),
        note="against nonsense and the opposite sentence, CLIP adapted to each",
    ),
    Claim(
        "the sentence reaches the image at all",
        "",
        "A_losses",
        _against(L_D, "L_d, swapped after"),
        note="against the opposite sentence asked of the CLIP adapted to Wald's",
    ),
    Claim(
        "L_d helps a network that was trained from nothing for 1000 steps",
        "",
        "I_long_training",
        _against("with L_d", "without"),
        note="the paper's terms at weight 1, L_ship too; our Stage I and teacher",
    ),
    Claim(
        "L_d helps a network that is good already",
        "",
        "H_strong_ground",
        _against(ADAPTED_L_D, "adapted"),
        note="the included network, adapted to the scene; L_d at weight 1 beside recipe best's "
        "losses, our Stage I",
    ),
    Claim(
        "L_d helps such a network after Stage I with the paper's weights",
        "",
        "H_strong_ground",
        _against(f"{ADAPTED_L_D}, paper's Stage I", "adapted"),
        note="its terms, weights and examples; our CLIP and 80 steps",
    ),
    Claim(
        "a trained CLIP does better for such a network than a random one",
        "",
        "H_strong_ground",
        _against(ADAPTED_L_D, f"{ADAPTED_L_D}, random CLIP"),
        note="against random weights, adapted alike, which leave hardly any L_d",
    ),
    Claim(
        "the sentence reaches the image of such a network",
        "",
        "H_strong_ground",
        (
            (ADAPTED_L_D, f"{ADAPTED_L_D}, swapped"),
            (f"{ADAPTED_L_D}, paper's Stage I", f"{ADAPTED_L_D}, paper's Stage I, swapped"),
        ),
        note="against the opposite sentence, asked afterwards; our Stage I stands first",
    ),
    Claim(
        "Wald's sentence does better for such a network than nonsense",
        "",
        "H_strong_ground",
        (
            (ADAPTED_L_D, f"{ADAPTED_L_D}, nonsense afterwards"),
            (
                f"{ADAPTED_L_D}, paper's Stage I",
                f"{ADAPTED_L_D}, paper's Stage I, nonsense afterwards",
            ),
        ),
        note="asked afterwards; our Stage I stands first. Against no L_d, nonsense after our Stage "
        "I changes +0.33 and +0.04 dB",
    ),
    Claim(
        "every backbone gains",
        "three of three public rows, of five",
        "B_backbones",
        _against("with L_d", "without"),
        note="seven backbones on three scenes",
    ),
    Claim(
        "Wald's protocol is the best prompt",
        "named best, figures not public",
        "C_prompts",
        _against("wald", "khan", "quality", "content", "wrong", "an image"),
        note="against five other sentences",
    ),
    Claim(
        "each loss of Stage I helps",
        "stated, no figure",
        "F_stage_one",
        _against(STAGE_ONE, "no InterMCL", "no IntraMCL", "no fusion-aware"),
        note="of the fused image",
    ),
    Claim(
        "Stage I is needed",
        "",
        "F_stage_one",
        _against(STAGE_ONE, "0 steps"),
        note="against the un-adapted CLIP",
    ),
    Claim(
        "a learned stem beats PCA and RGB",
        "stated, no figure",
        "F_stage_one",
        _against(STAGE_ONE, "stem PCA", "stem RGB"),
    ),
)


def results_folder() -> Path:
    """Where the recorded tables are: ``notebooks/studies/results``."""
    return notebooks.notebooks_folder() / "studies" / "results"


def judged(claim: Claim, folder: Path | None = None) -> dict[str, Any]:
    """One claim and what the recorded study says of it.

    Returns:
        ``measured`` (a text: how much of the study, where not all), ``setting`` (a text: how its
        networks were trained), ``verdict`` (a text), and ``cells`` (from `tables.effects`, one per
        pair, scene and backbone).

    Raises:
        ValueError: the study's table has none of the claim's arms.
    """
    path = (folder or results_folder()) / f"{claim.study}.csv"
    if not path.is_file():
        missing = f"cannot be tested here: {claim.study} has not been measured"
        return {"cells": [], "measured": "", "setting": claim.study, "verdict": missing}
    rows, facts = tables.load(path)
    cells = []
    for arm, other in claim.pairs:
        compared = {**facts, "against": {arm: other}}
        found = tables.effects(rows, compared, by=("scene", "backbone"))
        cells += [cell for cell in found if cell["metric"] == claim.metric and cell["n"] > 1]
    if not cells:
        raise ValueError(
            f"{path.name} holds no {claim.metric} for {claim.says!r}: expected arms {claim.pairs}"
        )
    said = verdict(cells, claim.rises, claim.metric, "reproduced" if claim.paper else "shown")
    if said.startswith("reproduced") and claim.size is not None:
        reached = any(
            low <= claim.size <= high for low, high in (c["t95"] for c in cells if c["t95"])
        )
        said += "" if reached else " in sign, not in size"
    finished, total = facts["points"]["finished"], sum(facts["points"].values())
    measured = f"{finished} of {total} points of the study measured"
    return {
        "cells": cells,
        "measured": measured if finished < total else "",
        "setting": f"{claim.study[0]}: {setting(facts, claim.pairs[0][0])}",
        "verdict": said,
    }


def setting(facts: dict[str, Any], arm: str) -> str:
    """How an arm of a recorded study was trained, in a few words.

    Args:
        facts: of the study, from `tables.load`. What they leave out, the arm's recipe says.
        arm: name of an arm that trains a network.
    """
    given = facts.get("fixed", {}) | facts["arms"].get(arm, {})
    usual = recipe(given.get("recipe", "quick"))
    start, steps, batch = (
        given.get(name, getattr(usual, name)) for name in ("start", "steps", "batch")
    )
    begin = "the included network" if start == "bundled" else "nothing"
    return f"from {begin}, {steps} steps of {batch} patches"


def verdict(cells: Cells, rises: bool, metric: str = "PSNR", all_help: str = "shown") -> str:
    """One line: how many cells bear the claim out, and what the others say.

    ``all_help`` is the word where all do, ``partly`` where some do. Without any, ``equal`` means
    that all cells are equal within the margin, ``not`` that at least one goes the other way, and
    ``open`` that nothing is shown either way.
    """
    found = statistics.outcomes(cells, rises)
    count = {name: found.count(name) for name in ("helps", "harms", "equal", "open", "too few")}
    total, few = len(cells), statistics.FEWEST
    if count["too few"] == total:
        return f"open (fewer than {few} pairs)"
    digits, unit = SHOWN[metric]
    margin = f"{statistics.MARGINS.get(metric, 0):.{digits}f}".rstrip("0") + unit
    words = {
        "harms": "the other way",
        "equal": f"equal within {margin}",
        "open": "open",
        "too few": f"with fewer than {few} pairs",
    }
    others = [f"{count[name]} {text}" for name, text in words.items() if count[name]]
    helped = count["helps"]
    if helped == total:
        return all_help if total == 1 else f"{all_help} ({total} of {total})"
    if count["equal"] == total:
        return f"equal within {margin}" + ("" if total == 1 else f" ({total} of {total})")
    if count["open"] == total:
        return "open" if total == 1 else f"open ({total} of {total})"
    word = "partly" if helped else "not" if count["harms"] else "open"
    return f"{word} ({', '.join([f'{helped} of {total}', *others])})"


def figure(cells: Cells, metric: str) -> str:
    """Our figures in a cell of the table: each scene's, or the range of many."""
    digits, unit = SHOWN[metric]
    seeds = sorted({cell["n"] for cell in cells})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}"
    if len(cells) > 4:
        changes = sorted(cell["difference"] for cell in cells)
        low, middle, high = (
            f"{value:+.{digits}f}" for value in (changes[0], median(changes), changes[-1])
        )
        return f"{low} to {high}{unit}, median {middle} ({n} each)"
    several = len({cell["against"] for cell in cells}) > 1
    parts = []
    for cell in cells:
        against = f"against {cell['against']}" if several else ""
        where = ", ".join(filter(None, [cell.get("scene"), cell.get("backbone"), against]))
        change, *ends = (f"{v:+.{digits}f}" for v in (cell["difference"], *(cell["t95"] or ())))
        parts.append(f"{where} {change} [{', '.join(ends) or 'no spread'}]")
    return f"{'; '.join(parts)}{unit} ({n})"


def table(folder: Path | None = None) -> list[tuple[str, ...]]:
    """Rows of the table of claims, under :data:`HEAD`."""
    rows: list[tuple[str, ...]] = []
    for claim in CLAIMS:
        found = judged(claim, folder)
        ours = f"{claim.metric} {figure(found['cells'], claim.metric)}" if found["cells"] else ""
        here = "; ".join(filter(None, [ours, claim.note, found["measured"]]))
        paper = claim.paper or "our question"
        rows.append((claim.says, paper, found["setting"], here, found["verdict"]))
    return rows


def markdown(folder: Path | None = None) -> str:
    """The table of claims, as on the page of studies and in the chapters."""
    rows = [(*cells, f"**{said}**") for *cells, said in table(folder)]
    return statistics.markdown(HEAD, rows)
