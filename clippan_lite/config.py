"""Settings of both training stages: each one is declared, explained and checked in one place.

They are checked when they are made (:mod:`clippan_lite.runtime.settings`), and saved in the header
of every checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, ClassVar, Self, TypeVar

from clippan_lite import backbones, losses
from clippan_lite.runtime.settings import Frozen, Settings, check, setting


def digest(*parts: object) -> str:
    """Short hash of settings as a cache key. Pass everything that changes a result."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


#: How the weight of a term is declared, whatever its name.
WEIGHT: Field[float] = setting(0.0, "weight of a term of the loss", least=0)


@dataclass(frozen=True)
class StageSettings(Settings):
    """Settings of a training stage: fields, and a weight for each term of its loss."""

    terms: ClassVar[losses.Terms]
    weights: dict[str, float]

    def __post_init__(self) -> None:
        """Check the fields and the weights.

        Raises:
            ValueError: a setting out of its bounds, or a weight of an unknown term.
        """
        super().__post_init__()
        own = {rule.name for rule in fields(self)}
        if own & self.terms.keys():
            raise ValueError(f"loss terms are named like settings: {own & self.terms.keys()}")
        weights = {}
        for name, weight in self.weights.items():
            self.terms.check(name)
            weights[name] = check(f"the weight {name}", weight, WEIGHT)
        object.__setattr__(self, "weights", Frozen(weights))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all settings: the fields, then the terms of the loss."""
        own = [name for name in super().names() if name != "weights"]
        return (*own, *cls.terms)

    def weight(self, term: str) -> float:
        """Weight of a term; one that is not named counts as 0."""
        return self.weights.get(term, 0.0)

    def active(self) -> list[str]:
        """Names of the terms with a weight above 0, in the order of the registry."""
        return [name for name in self.terms if self.weight(name)]

    def needs(self, what: str) -> bool:
        """Whether a term with a weight needs a ``"supervisor"``, a ``"teacher"`` or ``"truth"``."""
        return any(self.terms[name].needs == what for name in self.active())

    def idle(self) -> set[str]:
        """Settings that only terms without a weight take, so that they do nothing."""
        taken = {name: set(term.settings()) for name, term in self.terms.items()}
        read = [taken[name] for name in self.active()]
        return set().union(*taken.values()) - set().union(*read)

    def check_active(self) -> None:
        """Refuse settings under which nothing is trained (ValueError)."""
        if not self.active():
            known = ", ".join(self.terms)
            raise ValueError(f"all weights are 0: nothing to train on; set one of {known}")

    def changed(self, **changes: Any) -> Self:
        """The same settings with some changed, fields and weights by name.

        Raises:
            ValueError: an unknown name, or a value out of its bounds.
        """
        for name in changes:
            if name not in self.names() and name != "weights":
                known = ", ".join(self.names())
                raise ValueError(f"unknown setting {name!r}: expected one of {known}")
        weights = {name: value for name, value in changes.items() if name in self.terms}
        own = {name: value for name, value in changes.items() if name not in self.terms}
        before = own.get("weights", self.weights)
        if weights and isinstance(before, Mapping):  # of a whole table they change single ones
            own["weights"] = {**before, **weights}
        return replace(self, **own)


Stage = TypeVar("Stage", bound=StageSettings)
LARGEST_SEED = 2**32 - 1  # of numpy


@dataclass(frozen=True)
class AdaptConfig(StageSettings):
    """Stage I: stems and adapters around a frozen CLIP."""

    terms = losses.ADAPT_TERMS
    # The paper has no direction term, and weight 1 for the others. IntraMCL pulls against
    # direction.
    weights: dict[str, float] = field(
        default_factory=lambda: {"inter": 1.0, "intra": 0.3, "fusion": 1.0, "direction": 10.0}
    )
    steps: int = setting(80, "Stage I optimiser steps", least=0)
    batch: int = setting(12, "places per step, each seen as MS, PAN and HRMS", least=2)
    lr: float = setting(2e-3, "Adam's learning rate", least=1e-12)
    temperature: float = setting(0.07, "divides the cosines of both contrastive losses", least=1e-3)
    examples: str = setting(
        "mixed", 'HRMS examples: "mixed", one classical method, or "reduced" (true MS)'
    )
    image_share: float = setting(
        0.2, "share of an adapter's output in an image feature", least=0, most=1
    )
    text_share: float = setting(
        0.5, "the same for sentences; 0 leaves CLIP's own text features", least=0, most=1
    )
    stem: str = setting(
        "learned",
        "bands to CLIP's three channels: learned (the paper's), or fixed",
        choices=("learned", "rgb", "pca"),
    )
    seed: int = setting(
        0, "seed of Stage I's initial weights and crops", least=0, most=LARGEST_SEED
    )


@dataclass(frozen=True)
class TrainConfig(StageSettings):
    """Stage II: the fusion network, trained without truth."""

    terms = losses.TERMS
    # L_QNR and L_d pull far harder than L_spec, which guards the colours. At weight 1, as in the
    # paper, L_QNR buys its score with lost truth.
    weights: dict[str, float] = field(
        default_factory=lambda: {"spec": 1.0, "spat": 1.0, "qnr": 0.03, "direction": 0.03}
    )
    backbone: str = setting("fusionnet", "fusion network, a name of the table of backbones")
    start: str = setting(
        "", 'weights to begin with: "" untrained (gives EXP), "bundled" ours, or a file'
    )
    steps: int = setting(80, "Stage II optimiser steps", least=0)
    batch: int = setting(4, "patches per step", least=1)
    patch: int = setting(128, "side of a patch in PAN pixels", least=1)
    stride: int = setting(
        32, "patches begin at multiples of it, so that CLIP's features return; 1: anywhere", least=1
    )
    lr: float = setting(4e-3, "Adam's peak learning rate, one cosine down to 0", least=1e-12)
    ds_floor: float = setting(0.0, "D_s below which L_Ds does not push", least=0)
    guard: bool = setting(False, "language moves details only; L_spec keeps the colours")
    tokens: bool = setting(False, "L_d on CLIP's patches instead of whole crops")
    crops_in_turn: int = setting(
        4, "each step shows L_d one native crop in so many, in turn; 1: all of them", least=1
    )
    balance: bool = setting(False, "scale weights by gradient norms, so that a weight is a pull")
    seed: int = setting(
        0, "seed of Stage II's initial weights and patches", least=0, most=LARGEST_SEED
    )
    options: dict[str, Any] = field(default_factory=dict)  # passed to the backbone

    def changed(self, **changes: Any) -> Self:
        """As of any settings. Options are added; another backbone begins without any."""
        given = changes.get("options", {})
        before = {} if changes.get("backbone", self.backbone) != self.backbone else self.options
        if isinstance(given, Mapping):
            changes = {**changes, "options": {**before, **given}}
        return super().changed(**changes)


#: Named settings of Stage I.
ADAPT_RECIPES = {
    "ours": AdaptConfig(),
    "paper": AdaptConfig().changed(examples="BDSD", direction=0.0, intra=1.0),
    "course": AdaptConfig(steps=40),
}

#: Named settings of Stage II. The figures behind "best" are in notebooks/LOG.md.
RECIPES = {
    # Seconds on two cores: from nothing, or with the paper's terms from the included network.
    "scratch": TrainConfig(steps=60, batch=1, crops_in_turn=1),
    "course": TrainConfig(
        {"spec": 1.0, "spat": 1.0, "qnr": 0.03, "ship": 1.0, "direction": 0.03},
        backbone="bandwise",
        start="bundled",
        steps=30,
        batch=1,
        lr=4e-4,
        crops_in_turn=1,
    ),
    "quick": TrainConfig(),
    "paper": TrainConfig(
        {"spec": 1.0, "spat": 1.0, "qnr": 1.0, "ship": 1.0, "direction": 1.0},
        steps=1000,
        batch=32,
        lr=3e-3,
        stride=1,
        crops_in_turn=1,
    ),
    "best": TrainConfig(
        {"reduced": 1.0, "ship": 4.0, "qnr": 0.2},
        backbone="bandwise",
        start="bundled",
        steps=60,
        lr=4e-4,
        stride=1,
        options={"eightfold": True},
    ),
}


def recipe(name: str, **changes: Any) -> TrainConfig:
    """Settings of Stage II by name, some of them changed: ``recipe("best", seed=1, qnr=0.03)``.

    ``"paper"`` needs a supervisor, and L_ship a teacher. The training makes the teacher if none is
    given.

    Raises:
        ValueError: an unknown recipe, setting or option of the backbone.
    """
    config = _named(RECIPES, name).changed(**changes)
    if config.backbone in backbones.REGISTRY:
        backbones.check_options(config.backbone, config.options)
    return config


def adapt_recipe(name: str, **changes: Any) -> AdaptConfig:
    """Settings of Stage I by name, some of them changed: ``adapt_recipe("paper", steps=40)``.

    Raises:
        ValueError: an unknown recipe or setting.
    """
    return _named(ADAPT_RECIPES, name).changed(**changes)


def _named(recipes: dict[str, Stage], name: str) -> Stage:
    if name not in recipes:
        raise ValueError(f"unknown recipe {name!r}: expected one of {', '.join(recipes)}")
    return recipes[name]
