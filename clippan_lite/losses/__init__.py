"""The losses of both stages: each term is a function, and two registries name them.

Begin with :data:`TERMS`, the terms of Stage II, ``(fused, batch) -> scalar``, and
:data:`ADAPT_TERMS`, those of Stage I, ``(features, guide) -> scalar``. A new term is its function
and one line in its registry, or ``@losses.register("name")`` in a notebook. Its weight is then a
setting of that name.

A term of ours is loaded when it is used. This wing may import ``physics``, ``metrics`` and
``runtime``.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from typing import TYPE_CHECKING

from clippan_lite.losses.terms import (
    Batch,
    Features,
    Guide,
    Tensor,
    Term,
    Terms,
    backward,
    balanced,
    weighted_sum,
)
from clippan_lite.runtime import lazy

if TYPE_CHECKING:
    from clippan_lite.losses.language import details_only, direction_in_crops, words
    from clippan_lite.losses.stage_one import (
        KINDS,
        direction_of_features,
        drift,
        fusion_aware,
        inter_mcl,
        intra_mcl,
    )
    from clippan_lite.losses.stage_two import (
        against_truth,
        band_to_pan,
        correlation,
        mse_ssim,
        pseudo,
        quality,
        relation_to_pan,
        spatial,
        spectral,
    )

_HOMES = {
    "language": ("details_only", "direction_in_crops", "words"),
    "stage_one": ("KINDS", "direction_of_features", "drift", "fusion_aware", "inter_mcl",
                  "intra_mcl"),
    "stage_two": ("against_truth", "band_to_pan", "correlation", "mse_ssim", "pseudo", "quality",
                  "relation_to_pan", "spatial", "spectral"),
}  # fmt: skip
_MODULES = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}
__getattr__, __dir__ = lazy.attach(__name__, _MODULES)

#: Terms of Stage I. All are computed and logged, those without a weight too.
ADAPT_TERMS = Terms(
    inter=Term("stage_one:inter_mcl"),
    intra=Term("stage_one:intra_mcl"),
    fusion=Term("stage_one:fusion_aware"),
    direction=Term("stage_one:direction_of_features"),
    drift=Term("stage_one:drift"),
)

#: Terms of Stage II. Those with a weight above 0 are computed.
TERMS = Terms(
    spec=Term("stage_two:spectral"),
    spat=Term("stage_two:spatial"),
    rho=Term("stage_two:correlation"),
    ds=Term("stage_two:relation_to_pan"),
    qnr=Term("stage_two:quality"),
    truth=Term("stage_two:against_truth", needs="truth"),
    ship=Term("stage_two:pseudo", needs="teacher"),
    direction=Term("language:direction_in_crops", needs="supervisor"),
    words=Term("language:words", needs="supervisor"),
    reduced=Term("stage_two:against_truth", scale="reduced"),
)


Function = Callable[..., Tensor]
_BUILT_IN = frozenset(TERMS)
#: Names of settings and of columns of the history, which a term cannot have.
RESERVED = {
    "adapt", "backbone", "balance", "bands", "batch", "clip", "clip_pretrained", "clip_random",
    "convention", "crops_in_turn", "device", "ds_floor", "examples", "fault", "guard",
    "image_share", "loss", "lr", "method", "ms", "name", "options", "pan", "patch", "prompt",
    "recipe", "register", "scale", "scene", "seed", "self", "sensor", "size", "start", "stem",
    "step", "steps", "stride", "swap", "temperature", "test_scene", "text_share", "tokens",
    "train", "weights",
}  # fmt: skip


def register(name: str, *, needs: str = "", scale: str = "full") -> Callable[[Function], Function]:
    """Add a term of your own to Stage II, as a decorator of its function.

    ``@losses.register("name")`` stands before ``def term(fused, batch)``. With
    ``needs="supervisor"`` there is ``batch.guide``, with ``"teacher"`` ``batch.teacher``, with
    ``"truth"`` ``batch.truth``. ``scale="reduced"`` shows the result one scale down, where
    ``batch.truth`` is MS. A cell that runs again replaces its own term.

    Args:
        name: of the term, and of the setting that is its weight.
        needs: see :class:`Term`.
        scale: see :class:`Term`.

    Raises:
        ValueError: a name that is taken, reserved or no identifier, something that is no function,
            or an unknown need or scale.
    """
    if not isinstance(name, str):
        raise ValueError(f'expected @losses.register("name") with a name, found {name!r}')
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"loss {name!r}: expected letters, digits and _, as in a variable's name")
    if name in RESERVED or name.startswith(("grad", "adapt_")):
        raise ValueError(f"loss {name!r}: a setting or a column has this name; choose another one")

    def add(function: Function) -> Function:
        if not callable(function):
            raise ValueError(f"loss {name!r} must be a function, found {function!r}")
        term = Term(function, scale, needs)
        before = TERMS.get(name, term).function
        if name in _BUILT_IN or _place(before) != _place(function):
            raise ValueError(f"loss {name!r} exists already: choose another name")
        TERMS[name] = term
        return function

    return add


def _place(function: Function) -> tuple[object, ...]:
    """Where a function, or an object's class, is defined: the same when its cell runs again."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return named.__module__, named.__qualname__
