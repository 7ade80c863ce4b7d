"""Stage I's trainable parts around a frozen CLIP: two stems and six adapters (METHOD: arXiv 2511.10896)."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from clippan_lite.clip import Clip
from clippan_lite.data import Pair
from clippan_lite.prompts import PromptSet


class Stem(nn.Module):
    """C bands -> the 3 channels CLIP takes: a linear choice of bands plus a residual convolution.

    Starts as the sensor's red, green and blue, so that an un-adapted CLIP sees a true-colour picture. No BatchNorm: a
    frozen CLIP must not depend on what else is in the batch. Gradients flow through to the input image.

    Args:
        rgb: indices of the red, green and blue bands.
        bands: input bands.
        width: channels of the residual branch.
    """

    def __init__(self, rgb: tuple[int, int, int], bands: int, width: int = 16):
        super().__init__()
        self.choice = nn.Conv2d(bands, 3, 1, bias=False)
        with torch.no_grad():
            self.choice.weight.zero_()
            self.choice.weight[range(3), list(rgb)] = 1.0
        self.branch = nn.Sequential(
            nn.Conv2d(bands, width, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(width, 3, 3, padding=1, padding_mode="replicate"),
        )
        nn.init.normal_(self.branch[2].weight, std=1e-3)
        nn.init.zeros_(self.branch[2].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, S, S)`` -> ``(B, 3, S, S)``."""
        return self.choice(x) + self.branch(x)


class Adapter(nn.Module):
    """Bottleneck d -> d/4 -> d, mixed with its input by ``share``; unit features in and out."""

    def __init__(self, dim: int, share: float):
        super().__init__()
        self.share = share
        self.body = nn.Sequential(nn.Linear(dim, dim // 4), nn.ReLU(), nn.Linear(dim // 4, dim))

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """``(N, d)`` -> ``(N, d)``."""
        return F.normalize((1 - self.share) * feature + self.share * self.body(feature), dim=-1)


class FusionAdapter(nn.Module):
    """IFA / TFA: the features of MS and PAN, joined, 2d -> d/2 -> d.

    No ReLU at the end: CLIP features are signed, and a final ReLU keeps their cosine near 0.6 at best.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2 * dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, dim))

    def forward(self, ms: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Two ``(N, d)`` -> ``(N, d)``."""
        return F.normalize(self.body(torch.cat([ms, pan], -1)), dim=-1)


class Supervisor(nn.Module):
    """The adapted CLIP: stems and adapters (trainable) around a frozen CLIP (held, not registered).

    Args:
        clip: a frozen CLIP from :func:`clippan_lite.clip.load_clip`.
        prompts: the three sentences.
        bands: MS bands.
        rgb: indices of red, green, blue.
        image_share, text_share: residual ratios of the adapters (0.2 and 0.5 in the authors' code).
    """

    def __init__(
        self,
        clip: Clip,
        prompts: PromptSet,
        bands: int,
        rgb: tuple[int, int, int],
        image_share: float = 0.2,
        text_share: float = 0.5,
    ):
        super().__init__()
        self._clip = (
            clip,
        )  # in a tuple, so that the frozen CLIP is neither saved, moved nor trained with this module
        self.prompts, self.bands, self.rgb = prompts, bands, tuple(rgb)
        self.stems = nn.ModuleDict({"ms": Stem(rgb, bands), "hrms": Stem(rgb, bands)})
        self.image_adapters = nn.ModuleDict(
            {k: Adapter(clip.dim, image_share) for k in ("ms", "pan")}
        )
        self.text_adapters = nn.ModuleDict(
            {k: Adapter(clip.dim, text_share) for k in ("ms", "pan")}
        )
        self.image_fusion, self.text_fusion = FusionAdapter(clip.dim), FusionAdapter(clip.dim)
        # What a network sees as 1 may be dark in one band and bright in another; CLIP expects a stretched picture.
        self.register_buffer("band_gain", torch.ones(1, bands, 1, 1))
        self.register_buffer("pan_gain", torch.ones(1, 1, 1, 1))

    @property
    def clip(self) -> Clip:
        """The frozen CLIP."""
        return self._clip[0]

    def calibrate(self, pair: Pair) -> None:
        """Set the fixed display stretch from a scene: the 99.5th percentile of each band becomes 1."""
        keep = torch.ones_like(pair.pan[0], dtype=torch.bool) if pair.valid is None else pair.valid
        keep_ms = keep[:: pair.ratio, :: pair.ratio]
        for name, image, mask in (("band_gain", pair.ms, keep_ms), ("pan_gain", pair.pan, keep)):
            values = image[:, mask].float()
            bright = torch.stack(
                [
                    torch.from_numpy(v.numpy()).kthvalue(max(1, int(0.995 * v.numel()))).values
                    for v in values
                ]
            )
            gain = pair.scale / bright.clamp(min=1e-6)
            getattr(self, name).copy_(gain.view(1, -1, 1, 1))

    def fix_stems(self, axes: torch.Tensor | None = None) -> None:
        """Stems that Stage I does not learn: the sensor's red, green and blue, or other combinations of the bands.

        Args:
            axes: ``(3, C + 1)``, weights of the stretched bands and an offset; None leaves red, green and blue.
        """
        for stem in self.stems.values():
            nn.init.zeros_(stem.branch[2].weight)
            if axes is not None:
                with torch.no_grad():
                    stem.choice.weight.copy_(axes[:, :-1, None, None])
                    stem.branch[2].bias.copy_(axes[:, -1])
            stem.requires_grad_(False)

    def tiles(self, images: torch.Tensor) -> torch.Tensor:
        """Cut ``(B, C, S, S)`` into native crops of CLIP's input size, ``(B * n, C, s, s)``, without resizing.

        An image smaller than CLIP's input is passed whole (and enlarged inside the encoder).
        """
        side = min(self.clip.input_size, *images.shape[-2:])
        cuts = images.unfold(2, side, side).unfold(3, side, side)
        return cuts.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1], side, side)

    def tile_corners(self, places: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Where the crops of :meth:`tiles` lie: ``(B * n, 2)`` for images of ``size`` cut at ``places`` ``(B, 2)``."""
        side = min(self.clip.input_size, *size)
        steps = torch.cartesian_prod(*(torch.arange(0, length - side + 1, side) for length in size))
        return (places[:, None] + steps[None]).flatten(0, 1)

    def worded(self, prompts: PromptSet) -> Supervisor:
        """The same stems and adapters (shared, not copied) with other sentences, as they are: nothing is re-adapted."""
        other = copy.copy(self)
        other.prompts = prompts
        return other

    def encode(self, kind: str, images: torch.Tensor, tokens: bool = False) -> torch.Tensor:
        """Adapted unit features of native crops.

        Args:
            kind: ``"ms"`` (interpolated to PAN's grid), ``"pan"`` or ``"hrms"``.
            images: ``(B, C or 1, s, s)`` scaled as in :class:`clippan_lite.data.Patches`.
            tokens: a feature for each patch of CLIP's grid instead of one for the crop.

        Returns:
            ``(B, d)``, or ``(B * N, d)`` with ``tokens``; gradients flow to the images.
        """
        if kind == "pan":
            view = (images * self.pan_gain).expand(-1, 3, -1, -1)
        else:
            if images.shape[1] != self.bands:
                raise ValueError(
                    f"the stem takes {self.bands} bands, found {images.shape[1]}; adapt CLIP to this sensor"
                )
            view = self.stems[kind](images * self.band_gain)
        feature = (
            self.clip.encode_tokens(view).flatten(0, 1) if tokens else self.clip.encode_image(view)
        )
        return feature if kind == "hrms" else self.image_adapters[kind](feature)

    def encode_texts(self) -> dict[str, torch.Tensor]:
        """Unit features ``(1, d)`` of the three sentences; HRMS's stays CLIP's own, the fixed end of the direction."""
        ms, pan, hrms = self.clip.encode_text(
            [self.prompts.ms, self.prompts.pan, self.prompts.hrms]
        ).split(1)
        return {
            "ms": self.text_adapters["ms"](ms),
            "pan": self.text_adapters["pan"](pan),
            "hrms": hrms,
        }
