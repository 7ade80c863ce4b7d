"""What a term of a loss is, what it may look at, and the registry that builds terms."""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from clippan_lite.physics.sensors import Sensor


Tensor = torch.Tensor
SCALES = ("full", "reduced")
NEEDS = ("", "supervisor", "teacher", "truth")
Features = dict[str, Tensor]  # kind ("ms", "pan", "hrms") -> unit features (N, d)


@dataclass
class Guide:
    """An adapted CLIP with the features of its sentences.

    Attributes:
        supervisor: the adapted CLIP.
        texts: kind -> unit feature ``(1, d)`` of its sentence.
        remembered: features of MS and PAN by place, so that each crop is encoded once. None forgets
            them.
    """

    supervisor: Any  # clippan_lite.adapter.Supervisor, whose module stands above the losses
    texts: Features
    remembered: dict[tuple[int, ...], tuple[Tensor, Tensor]] | None = None

    @classmethod
    def of(cls, supervisor: Any, remember: bool = False) -> Guide:
        """The guide of a supervisor; gradients flow to its adapters if they are trainable."""
        return cls(supervisor, supervisor.encode_texts(), {} if remember else None)


@dataclass
class Batch:
    """What a Stage II loss may look at beside the fused image: crops of the same ground.

    Images are scaled to about [0, 1], on PAN's grid unless said otherwise.

    Attributes:
        ms: ``(B, C, h, w)`` on its own grid.
        pan: ``(B, 1, H, W)``.
        exp: MS interpolated, ``(B, C, H, W)``.
        sensor: MTF gains and ratio.
        convention: resampling convention of the data.
        truth: ``(B, C, H, W)``, where it is known.
        teacher: a teacher's result ``(B, C, H, W)``, for L_ship.
        to_pan: phi of L_spat, from :func:`band_to_pan`.
        guide: the adapted CLIP, for L_d and L_words.
        places: top left corners of the crops in the scene, ``(B, 2)``, PAN pixels.
        crops: which of CLIP's native crops L_d and L_words look at.
        grey_band: the band that L_words shows in grey.
        classical: results of classical methods that the network mends, one after the other along
            the bands; for networks that begin with some.
    """

    ms: Tensor
    pan: Tensor
    exp: Tensor
    sensor: Sensor
    convention: str = "benchmark"
    truth: Tensor | None = None
    teacher: Tensor | None = None
    to_pan: nn.Module | None = None
    guide: Guide | None = None
    places: Tensor | None = None
    crops: slice = field(default_factory=lambda: slice(None))
    grey_band: int = 0
    classical: Tensor | None = None

    def need(self, name: str) -> Any:
        """A part that not every batch has.

        Raises:
            ValueError: this one has not. The message says how a term asks for it.
        """
        part = getattr(self, name)
        if part is None:
            need = {"guide": "supervisor"}.get(name, name)
            how = f': declare the term with needs="{need}"' if need in NEEDS else ""
            raise ValueError(f"this loss needs batch.{name}, found none{how}")
        return part


@dataclass(frozen=True)
class Term:
    """A term of a loss.

    Attributes:
        code: ``(fused, batch) -> scalar`` in Stage II, ``(features, guide) -> scalar`` in Stage I.
            Its keyword-only parameters are settings of the stage, found by name. Of our own terms
            it is "module:function", which is loaded when it is used.
        scale: ``"full"``, or ``"reduced"`` to look at the result one scale down, where MS is the
            truth.
        needs: what the training must bring, at full scale: ``"supervisor"``, ``"teacher"``,
            ``"truth"`` or "". Nothing else declares it.

    Raises:
        ValueError: an unknown need or scale.
    """

    code: Callable[..., Tensor] | str
    scale: str = "full"
    needs: str = ""

    def __post_init__(self) -> None:
        """Check what is declared."""
        if self.scale == "reduced" and self.needs in ("truth", "teacher"):
            raise ValueError(
                f"needs {self.needs!r} with scale 'reduced': leave needs out, one scale down the "
                "truth is always there (batch.truth, MS itself)"
            )
        allowed = NEEDS if self.scale == "full" else ("",)
        if self.scale not in SCALES or self.needs not in allowed:
            raise ValueError(
                f"expected a scale of {SCALES} and, for full, needs of {NEEDS}; found scale "
                f"{self.scale!r}, needs {self.needs!r}"
            )

    @property
    def function(self) -> Callable[..., Tensor]:
        """The function, loaded."""
        if isinstance(self.code, str):
            return pkgutil.resolve_name(f"clippan_lite.losses.{self.code}")
        return self.code

    def settings(self) -> list[str]:
        """Names of the settings that the function takes: its keyword-only parameters."""
        parameters = inspect.signature(self.function).parameters.values()
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


class Terms(dict[str, Term]):
    """Terms of a stage by name, in the order in which they are summed."""

    def check(self, name: str) -> None:
        """Refuse an unknown name (ValueError)."""
        if name not in self:
            raise ValueError(f"unknown loss term {name!r}: expected one of {', '.join(self)}")

    def build(self, settings: object, names: Container[str]) -> dict[str, Term]:
        """Some terms, bound to the settings that their functions declare, in the registry's order.

        Args:
            settings: has an attribute for every keyword-only parameter of the functions.
            names: which terms.

        Raises:
            ValueError: a function declares a parameter that is no setting.
        """
        return {name: self._bound(name, settings) for name in self if name in names}

    def _bound(self, name: str, settings: object) -> Term:
        declared = self[name].settings()
        for key in declared:
            if not hasattr(settings, key):
                raise ValueError(
                    f"the loss term {name!r} takes {key!r} by keyword, which is no setting of "
                    f"{type(settings).__name__}; let it stand before the *, or use a setting's name"
                )
        values = {key: getattr(settings, key) for key in declared}
        return replace(self[name], code=functools.partial(self[name].function, **values))


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Weighted sum of named scalars, one after the other; a name without a weight counts as 0."""
    total = torch.zeros(())
    for name, value in terms.items():
        total = total.to(value.device) + weights.get(name, 0.0) * value
    return total


def backward(
    terms: Mapping[str, Term],
    weights: Mapping[str, float],
    images: Mapping[str, Tensor],
    batches: Mapping[str, Batch],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Pass backward from every term of Stage II to the fused images, where the terms meet.

    Taken one by one, the gradients say how hard each term pulls at the image: a pull is a term's
    gradient there times its weight. Together they cost the same as one pass for all.

    Args:
        terms: from :meth:`Terms.build`.
        weights: name -> weight.
        images: scale -> fused image, a leaf; it is made to require a gradient.
        batches: scale -> batch. The weighted gradients of the parameters of ``batch.to_pan`` are
            added to their ``grad``.

    Returns:
        Scalars without gradients, on the device: ``loss``, the unweighted terms by name, and
        ``grad NAME``, the L2 norm of each term's gradient at the image. And scale -> the weighted
        sum of all gradients at the image.

    Raises:
        ValueError: a term fails, returns no scalar, or does not depend on the fused image. The
            message names it.
    """
    values, norms = {}, {}
    pulls: dict[Tensor, Tensor] = {}
    for image in images.values():
        image.requires_grad_()
    for name, term in terms.items():
        image, batch = images[term.scale], batches[term.scale]
        leaves = [image, *(batch.to_pan.parameters() if batch.to_pan else ())]
        value = _value(name, term, image, batch)
        gradients: Sequence[Tensor | None] = [None]
        if value.requires_grad:
            gradients = torch.autograd.grad(value, leaves, allow_unused=True)
        if gradients[0] is None:
            raise ValueError(f"the loss term {name!r} does not depend on the fused image")
        values[name] = value.detach()
        norms[f"grad {name}"] = gradients[0].norm()
        for leaf, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                pull = weights[name] * gradient
                pulls[leaf] = pulls[leaf] + pull if leaf in pulls else pull
    at_images = {scale: pulls.pop(image) for scale, image in images.items()}
    for parameter, pull in pulls.items():
        parameter.grad = pull
    return {"loss": weighted_sum(values, weights), **values, **norms}, at_images


def _value(name: str, term: Term, image: Tensor, batch: Batch) -> Tensor:
    """What a term returns, if it is a scalar (ValueError)."""
    try:
        value = term.function(image, batch)
    except ValueError as error:
        raise ValueError(f"the loss term {name!r}: {error}") from error
    if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
        found = f"shape {tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else value
        raise ValueError(
            f"the loss term {name!r} must return a scalar, such as a mean; found {found}"
        )
    return value
