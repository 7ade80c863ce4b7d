"""Settings of the two training stages, saved as JSON beside every checkpoint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace


def digest(*parts: object) -> str:
    """Short hash of settings, for cache keys: everything that changes a result must be among ``parts``."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


#: Classical methods whose results "mixed" shows as HRMS, a random one per crop: no one method's look is learned.
EXAMPLES = ("BDSD", "GSA", "MTF-GLP-HPM")


@dataclass(frozen=True)
class AdaptConfig:
    """Stage I: stems and adapters around a frozen CLIP."""

    steps: int = 80  # optimiser steps; 0 leaves CLIP un-adapted
    batch: int = 12  # crops of different places per step, each as MS, PAN and HRMS
    lr: float = 2e-3  # Adam's learning rate
    temperature: float = 0.07  # of both contrastive losses, CLIP's usual start value
    inter: float = 1.0  # weight of InterMCL: image type against its sentence
    intra: float = 0.3  # weight of IntraMCL: same place against other places; it pulls against direction (paper: 1)
    fusion: float = 1.0  # weight of the fusion-aware L1
    direction: float = (
        10.0  # weight of 1 - direction cosine on HRMS: our addition; the paper has none (0)
    )
    drift: float = 0.0  # weight of 1 - cos(adapted, raw) of the MS and PAN sentences: keeps what CLIP knew of them
    examples: str = (
        "mixed"  # HRMS examples: "mixed" (EXAMPLES), one classical method, or "reduced" (true MS)
    )
    image_share: float = 0.2  # of an adapter's output in an image feature; as in the authors' code
    text_share: float = 0.5  # the same for sentences; 0 leaves CLIP's own text features
    stem: str = (
        "learned"  # bands to CLIP's three channels: "learned" (the paper's), or fixed: "rgb", "pca"
    )
    seed: int = 0  # of initial weights and of the crops


@dataclass(frozen=True)
class TrainConfig:
    """Stage II: the fusion network, trained without truth."""

    backbone: str = "fusionnet"  # a name in backbones.REGISTRY
    start: str = ""  # "": an untrained network, which gives EXP; "bundled": ours, trained on synthetic scenes; or a file
    steps: int = 80  # optimiser steps
    batch: int = 4  # patches per step
    patch: int = 128  # PAN pixels; CLIP sees it as native crops of its own input size
    stride: int = 32  # patches begin at multiples of it, so that places, and CLIP's features of them, return; 1: anywhere
    lr: float = 4e-3  # Adam's peak learning rate, one cosine down to 0
    spec: float = 1.0  # weight of L_spec
    spat: float = 1.0  # weight of L_spat
    rho: float = (
        0.0  # weight of L_rho: local correlation with PAN; our addition, the paper has none
    )
    ds: float = 0.0  # weight of L_Ds: D_s alone, without D_lambda; our addition too
    ds_floor: float = (
        0.0  # D_s below which L_Ds does not push: the truth's own, one scale down, is .02 to .07
    )
    qnr: float = 0.03  # weight of L_QNR: at 1, as in the paper, it buys QNR with lost truth
    reduced: float = (
        0.0  # weight of MSE + (1 - SSIM) one scale down, where MS is the truth (Wald's protocol)
    )
    truth: float = 0.0  # weight of the same against the truth, for synthetic scenes, which have one
    ship: float = 0.0  # weight of L_ship; above 0 train() needs a teacher
    direction: float = 0.03  # weight of L_d; 0 trains without it
    words: float = 0.0  # weight of L_words: antonyms asked of un-adapted CLIP; our addition, the paper has none
    guard: bool = (
        False  # L_d and L_words move details only: what MS's MTF lets through is left to L_spec
    )
    crops_in_turn: int = (
        4  # L_d looks at every fourth native crop, the others in the next steps; 1: at all of them
    )
    balance: bool = False  # weights times gradient norms: a term pushes its weight times as hard as the first one
    tokens: bool = False  # L_d on CLIP's patches instead of whole crops
    seed: int = 0  # of initial weights and of the patches
    options: dict = field(default_factory=dict)  # passed to the backbone


#: Named settings of Stage II; the figures behind "best" are in notebooks/LOG.md.
RECIPES = {
    "course": TrainConfig(steps=60, batch=1, crops_in_turn=1),  # the chapters': seconds for a network on two cores
    "quick": TrainConfig(),
    "paper": TrainConfig(
        steps=1000, batch=32, lr=3e-3, qnr=1.0, ship=1.0, direction=1.0, stride=1, crops_in_turn=1
    ),
    "best": TrainConfig(
        start="bundled", steps=600, lr=3e-3, spec=2.0, spat=0.0, rho=1.5, ds=0.3, ds_floor=0.04, qnr=0.0, reduced=0.5,
        direction=0.0,
    ),
}  # fmt: skip


def recipe(name: str, **changes: object) -> TrainConfig:
    """Settings by name, some of them changed: ``recipe("best", seed=1, backbone="pannet")``.

    ``"paper"`` needs a supervisor and a teacher (L_ship).

    Raises:
        ValueError: unknown recipe, or a setting that there is not.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: expected one of {', '.join(RECIPES)}")
    known = [f.name for f in fields(TrainConfig)]
    for key in changes:
        if key not in known:
            raise ValueError(
                f"unknown setting {key!r} of a training: expected one of {', '.join(known)}"
            )
    return replace(RECIPES[name], **changes)


def to_json(config: AdaptConfig | TrainConfig, **more: object) -> str:
    """JSON text of a config with other facts beside it."""
    return json.dumps({**asdict(config), **more}, indent=1)
