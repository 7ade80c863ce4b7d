"""The losses of both stages: each term is a function, and two registries name them.

Begin with :data:`TERMS`, the terms of Stage II, ``(fused, batch) -> scalar``, and
:data:`ADAPT_TERMS`, those of Stage I, ``(features, guide) -> scalar``. A new term is its function
and one line in its registry, or ``@losses.register("name")`` in a notebook. Its weight is then a
setting of that name.

This wing may import ``physics`` and ``metrics``.
"""

from __future__ import annotations

from collections.abc import Callable

from clippan_lite.losses.language import details_only, direction_in_crops, words
from clippan_lite.losses.stage_one import (
    KINDS,
    direction,
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

#: Terms of Stage I. All are computed and logged, those without a weight too.
ADAPT_TERMS = Terms(
    inter=Term(inter_mcl),
    intra=Term(intra_mcl),
    fusion=Term(fusion_aware),
    direction=Term(direction),
    drift=Term(drift),
)

#: Terms of Stage II. Those with a weight above 0 are computed.
TERMS = Terms(
    spec=Term(spectral),
    spat=Term(spatial),
    rho=Term(correlation),
    ds=Term(relation_to_pan),
    qnr=Term(quality),
    truth=Term(against_truth, needs="truth"),
    ship=Term(pseudo, needs="teacher"),
    direction=Term(direction_in_crops, needs="supervisor"),
    words=Term(words, needs="supervisor"),
    reduced=Term(against_truth, scale="reduced"),
)


Function = Callable[..., Tensor]


def register(name: str) -> Callable[[Function], Function]:
    """Add a term of your own to Stage II, as a decorator of its function; see :class:`Term`."""

    def add(function: Function) -> Function:
        TERMS[name] = Term(function)
        return function

    return add
