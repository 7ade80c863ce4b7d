"""Fusion networks with one signature, ``forward(ms, pan) -> hrms``, made by name.

All learn a residual, on the interpolated MS or on classical results, and start with it at zero.
So an untrained network returns EXP, or the mean of those results.

Begin with :func:`create` and the base :class:`Fusion`. This wing may import ``data``,
``physics`` and ``runtime``.
"""

import pkgutil
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

from clippan_lite.backbones.common import Fusion, conv, silence
from clippan_lite.physics.resample import check_whole
from clippan_lite.runtime.settings import TYPE_NAMES, in_kind

#: Name -> class, or "module:class" of this folder: a file is loaded when its network is asked for.
REGISTRY: dict[str, str | type[Fusion]] = {
    "fusionnet": "fusionnet:FusionNet",
    "pnn": "pnn:PNN",
    "pannet": "pannet:PanNet",
    "lambdapnn": "lambdapnn:LambdaPNN",
    "arbrpn": "arbrpn:ArbRPN",
    "lformer": "lformer:LFormer",
    "panmamba": "panmamba:PanMamba",
    "bandwise": "bandwise:Bandwise",
}


SHARED = ("bands", "ratio", "convention")  # arguments of every network
RATIOS = (2, 4, 8)  # PAN pixels per MS pixel that networks take


def register(name: str) -> Callable[[type[Fusion]], type[Fusion]]:
    """Class decorator that makes a network known by name, to :func:`create` and everywhere else.

    The class is a :class:`Fusion` with ``__init__(self, bands, ratio, convention, **options)`` and
    ``residual(self, exp, pan)``. Its last layer starts at zero (:func:`silence`), so that the
    untrained network returns EXP. Images are fused in tiles, so ``reach`` and ``grid`` have to be
    right: where they are not, seams show.

    Raises:
        ValueError: the name is taken, or the class is no :class:`Fusion`.
    """

    def add(network: type[Fusion]) -> type[Fusion]:
        if not (isinstance(network, type) and issubclass(network, Fusion)):
            raise ValueError(
                f"backbone {name!r}: expected a subclass of backbones.Fusion, found {network!r}"
            )
        # A notebook's cell that runs again defines the same class anew, with the same repr.
        if repr(REGISTRY.get(name, network)) != repr(network):
            raise ValueError(f"backbone {name!r} exists already: choose another name")
        REGISTRY[name] = network
        return network

    return add


def check(name: str) -> None:
    """Raise a ValueError that lists the known names, unless ``name`` is one of them."""
    if name not in REGISTRY:
        raise ValueError(f"unknown backbone {name!r}: expected one of {', '.join(REGISTRY)}")


def check_ratio(ratio: int) -> None:
    """Raise a ValueError that names the way out, unless networks take that ratio."""
    if ratio not in RATIOS:
        raise ValueError(
            f"networks take the ratios 2, 4 and 8, found ratio {ratio}: fuse by a classical method "
            "(clippan-lite fuse ... --convention geo --method bdsd-pc --rounds 2, in Python "
            "classical.fuse('BDSD-PC', pair, rounds=2))"
        )


def find(name: str) -> type[Fusion]:
    """The class of that name (ValueError for an unknown one)."""
    check(name)
    entry = REGISTRY[name]
    return pkgutil.resolve_name(f"{__name__}.{entry}") if isinstance(entry, str) else entry


def check_options(name: str, options: Mapping[str, object]) -> dict[str, Any]:
    """All options of a network: those given, and the defaults of the others.

    Raises:
        ValueError: one that the network does not take, or of another type than its default.
    """
    network = find(name)
    taken = signature(network).parameters
    rest = any(option.kind is Parameter.VAR_KEYWORD for option in taken.values())
    defaults = {key: option.default for key, option in taken.items() if key not in SHARED}
    defaults = {key: value for key, value in defaults.items() if value is not Parameter.empty}
    defaults |= {"rounds": network.rounds}
    for key, value in options.items():
        if key not in {*taken, *defaults} and not rest:
            known = ", ".join(defaults)
            raise ValueError(f"backbone {name} has no option {key!r}: expected some of {known}")
        kind = type(defaults.get(key))
        if kind in TYPE_NAMES:
            in_kind(f"{name}'s option {key}", value, kind)
    return defaults | dict(options)


def create(
    name: str, bands: int, ratio: int = 4, convention: str = "benchmark", **options: object
) -> Fusion:
    """Make a fusion network.

    Args:
        name: a key of :data:`REGISTRY`.
        bands: MS bands.
        ratio: PAN pixels per MS pixel: 2, 4 or 8.
        convention: resampling convention of the data, see :mod:`clippan_lite.physics.degrade`.
        options: keyword arguments of the network's class, such as ``width``; and ``rounds`` of
            back-projection as the last layer of any network.

    Returns:
        The network. Its ``forward`` takes MS ``(B, C, h, w)`` and PAN
        ``(B, 1, h * ratio, w * ratio)``, and returns HRMS ``(B, C, h * ratio, w * ratio)``.

    Raises:
        ValueError: unknown name or option, no band, or another ratio.
    """
    network = find(name)
    chosen = check_options(name, options)
    if bands < 1:
        raise ValueError(f"expected bands >= 1 and ratio 2, 4 or 8, found bands {bands}")
    check_ratio(ratio)
    rounds: Any = options.pop("rounds", network.rounds)
    check_whole("rounds of back-projection", rounds, 0)
    made = network(bands, ratio, convention, **options)
    made.rounds, made.options = int(rounds), chosen
    return made
