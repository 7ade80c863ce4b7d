"""The losses of both stages: each term is a function, and two registries name them.

Begin with :data:`TERMS`, the terms of Stage II, ``(fused, batch) -> scalar``, and
:data:`ADAPT_TERMS`, those of Stage I, ``(features, guide) -> scalar``. A new term is its function
and one line in its registry, or ``@losses.register("name")`` in a notebook. Its weight is then a
setting of that name.

A term of ours is loaded when it is used. This wing may import ``physics``, ``metrics`` and
``runtime``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clippan_lite.losses.terms import (
    Batch,
    Features,
    Guide,
    Tensor,
    Term,
    Terms,
    backward,
    weighted_sum,
)
from clippan_lite.runtime import lazy

if TYPE_CHECKING:
    from clippan_lite.losses.balance import balanced
    from clippan_lite.losses.language import details_only, direction_in_crops, words
    from clippan_lite.losses.own_terms import RESERVED, register
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
    "balance": ("balanced",),
    "language": ("details_only", "direction_in_crops", "words"),
    "own_terms": ("RESERVED", "register"),
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
BUILT_IN = frozenset(TERMS)
