"""The adapted CLIP of Stage I: two stems and six adapters around a frozen CLIP.

Source: CLIPPan, arXiv 2511.10896.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from clippan_lite import checkpoints
from clippan_lite.clip import Clip
from clippan_lite.config import AdaptConfig
from clippan_lite.data import Pair
from clippan_lite.losses import Features
from clippan_lite.prompts import PromptSet
from clippan_lite.runtime import weights


class Stem(nn.Module):
    """C bands -> the 3 channels CLIP takes: a linear choice of bands plus a residual convolution.

    It starts as the sensor's red, green and blue, so that an un-adapted CLIP sees a true-colour
    picture. There is no BatchNorm: a frozen CLIP must not depend on what else is in the batch.

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
        weight, bias = self._last()
        nn.init.normal_(weight, std=1e-3)
        nn.init.zeros_(bias)

    def _last(self) -> tuple[torch.Tensor, torch.Tensor]:
        last = self.branch[2]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        return last.weight, last.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, S, S)`` -> ``(B, 3, S, S)``."""
        return self.choice(x) + self.branch(x)

    def fix(self, axes: torch.Tensor | None = None) -> None:
        """Stop training this stem: keep the present choice of bands, or take another.

        Args:
            axes: ``(3, C + 1)``, weights of the stretched bands and an offset; None keeps them.
        """
        weight, bias = self._last()
        nn.init.zeros_(weight)
        if axes is not None:
            with torch.no_grad():
                self.choice.weight.copy_(axes[:, :-1, None, None])
                bias.copy_(axes[:, -1])
        self.requires_grad_(False)


class Adapter(nn.Module):
    """Bottleneck d -> d/4 -> d, mixed with its input by ``share``; unit features in and out."""

    def __init__(self, dim: int, share: float):
        super().__init__()
        self.share = share
        self.body = nn.Sequential(nn.Linear(dim, dim // 4), nn.ReLU(), nn.Linear(dim // 4, dim))

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """``(N, d)`` -> ``(N, d)``."""
        mixed = (1 - self.share) * feature + self.share * self.body(feature)
        return F.normalize(mixed, dim=-1)


class FusionAdapter(nn.Module):
    """IFA / TFA: the features of MS and PAN, joined, 2d -> d/2 -> d.

    There is no ReLU at the end: CLIP features are signed, and their cosine would stay below 0.6.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2 * dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, dim))

    def forward(self, ms: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Two ``(N, d)`` -> ``(N, d)``."""
        return F.normalize(self.body(torch.cat([ms, pan], -1)), dim=-1)


class Supervisor(nn.Module):
    """The adapted CLIP: trainable stems and adapters around a frozen CLIP.

    Args:
        clip: a frozen CLIP from :func:`clippan_lite.clip.load_clip`.
        prompts: the three sentences.
        bands: MS bands.
        rgb: indices of red, green, blue.
        image_share: share of an adapter's output in an image feature (0.2 in the authors' code).
        text_share: the same for sentences (0.5 in the authors' code).
    """

    band_gain: torch.Tensor
    pan_gain: torch.Tensor

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
        # In a tuple, the frozen CLIP is neither saved, moved nor trained with this module.
        self._clip = (clip,)
        self.prompts, self.bands, self.rgb = prompts, bands, tuple(rgb)
        self.stems = nn.ModuleDict({kind: Stem(rgb, bands) for kind in ("ms", "hrms")})
        kinds = ("ms", "pan")
        self.image_adapters = nn.ModuleDict({k: Adapter(clip.dim, image_share) for k in kinds})
        self.text_adapters = nn.ModuleDict({k: Adapter(clip.dim, text_share) for k in kinds})
        self.image_fusion, self.text_fusion = FusionAdapter(clip.dim), FusionAdapter(clip.dim)
        # Bands are of different brightness, and CLIP expects a stretched picture.
        self.register_buffer("band_gain", torch.ones(1, bands, 1, 1))
        self.register_buffer("pan_gain", torch.ones(1, 1, 1, 1))

    @property
    def clip(self) -> Clip:
        """The frozen CLIP."""
        return self._clip[0]

    def calibrate(self, pair: Pair) -> None:
        """Set the fixed display stretch from a scene: each band's 99.5th percentile becomes 1."""
        valid = pair.valid_pixels
        valid_ms = valid[:: pair.ratio, :: pair.ratio]
        self.band_gain.copy_(_gains(pair.ms[:, valid_ms], pair.scale))
        self.pan_gain.copy_(_gains(pair.pan[:, valid], pair.scale))

    def fix_stems(self, axes: torch.Tensor | None = None) -> None:
        """Use stems that Stage I does not learn: red, green and blue, or other mixtures of bands.

        Args:
            axes: as in :meth:`Stem.fix`; None leaves red, green and blue.
        """
        for stem in self.stems.values():
            assert isinstance(stem, Stem)
            stem.fix(axes)

    def tiles(self, images: torch.Tensor) -> torch.Tensor:
        """Cut ``(B, C, S, S)`` into native crops of CLIP's input size, ``(B * n, C, s, s)``.

        Nothing is resized here. An image smaller than CLIP's input is passed whole, and enlarged
        inside the encoder.
        """
        side = min(self.clip.input_size, *images.shape[-2:])
        cuts = images.unfold(2, side, side).unfold(3, side, side)
        return cuts.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1], side, side)

    def tile_corners(self, places: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Where the crops of :meth:`tiles` lie in the scene, ``(B * n, 2)``.

        Args:
            places: corners of the images, ``(B, 2)``.
            size: height and width of the images.
        """
        side = min(self.clip.input_size, *size)
        rows, columns = (torch.arange(0, length - side + 1, side) for length in size)
        offsets = torch.cartesian_prod(rows, columns)
        return (places[:, None] + offsets[None]).flatten(0, 1)

    def with_prompts(self, prompts: PromptSet) -> Supervisor:
        """The same stems and adapters, shared and not re-adapted, with other sentences."""
        other = copy.copy(self)
        other.prompts = prompts
        return other

    def encode(self, kind: str, images: torch.Tensor, tokens: bool = False) -> torch.Tensor:
        """Adapted unit features of native crops.

        Args:
            kind: ``"ms"`` (interpolated to PAN's grid), ``"pan"`` or ``"hrms"``.
            images: ``(B, C or 1, s, s)``, scaled as in :class:`clippan_lite.data.Patches`.
            tokens: give a feature for each patch of CLIP's grid instead of one for the crop.

        Returns:
            ``(B, d)``, or ``(B * N, d)`` with ``tokens``; gradients flow to the images.

        Raises:
            ValueError: other bands than the stems take.
        """
        return self.encode_all({kind: images}, tokens)[kind]

    def encode_all(self, views: dict[str, torch.Tensor], tokens: bool = False) -> Features:
        """:meth:`encode` for several kinds at once, in one pass through CLIP."""
        seen = [self._seen(kind, images) for kind, images in views.items()]
        encode = self.clip.encode_tokens if tokens else self.clip.encode_image
        parts = encode(torch.cat(seen)).split([len(view) for view in seen])
        features = {kind: part.flatten(0, -2) for kind, part in zip(views, parts, strict=True)}
        adapters = self.image_adapters
        return {k: f if k == "hrms" else adapters[k](f) for k, f in features.items()}

    def _seen(self, kind: str, images: torch.Tensor) -> torch.Tensor:
        """Crops as CLIP looks at them, ``(B, 3, s, s)``."""
        if kind == "pan":
            return (images * self.pan_gain).expand(-1, 3, -1, -1)
        if images.shape[1] != self.bands:
            raise ValueError(
                f"the stem takes {self.bands} bands, found {images.shape[1]}; "
                "adapt CLIP to this sensor"
            )
        return self.stems[kind](images * self.band_gain)

    def encode_texts(self) -> Features:
        """Unit features ``(1, d)`` of the three sentences.

        HRMS's stays CLIP's own, the fixed end of the direction.
        """
        texts = [self.prompts.ms, self.prompts.pan, self.prompts.hrms]
        ms, pan, hrms = self.clip.encode_text(texts).split(1)
        return {
            "ms": self.text_adapters["ms"](ms),
            "pan": self.text_adapters["pan"](pan),
            "hrms": hrms,
        }


def save_supervisor(path: Path, supervisor: Supervisor, config: AdaptConfig, sensor: str) -> None:
    """Write stems and adapters as safetensors, with all that loading needs in its header."""
    facts = {
        "config": asdict(config),
        "sensor": sensor,
        "bands": supervisor.bands,
        "rgb": supervisor.rgb,
        "clip": supervisor.clip.label,
        "prompts": asdict(supervisor.prompts),
    }
    weights.save(path, supervisor.state_dict(), facts)


def load_supervisor(path: Path, clip: Clip) -> Supervisor:
    """Load what :func:`save_supervisor` wrote, around the same CLIP that it was adapted with.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged, or was adapted around another CLIP.
    """
    tensors, facts = checkpoints.load_facts(path, "supervisor")
    if (label := facts.text("clip")) != clip.label:
        raise ValueError(
            f"{path.name} was adapted around {label[:80]}, found {clip.label}; load that CLIP"
        )
    bands = facts.whole("bands", 1, checkpoints.MOST)
    rgb = tuple(facts.items("rgb", 3, (int,)))
    facts.need(all(0 <= i < bands for i in rgb), "rgb", f"three band indices below {bands}")
    said = facts.table("prompts")
    texts = {name: said.text(name) for name in ("ms", "pan", "hrms", "purpose")}
    antonyms = tuple(said.pairs("antonyms"))
    try:
        config = AdaptConfig(**facts.table("config").values)
    except TypeError as error:
        raise ValueError(f"{facts.where}: {error}") from None
    shares = (config.image_share, config.text_share)
    supervisor = Supervisor(clip, PromptSet(**texts, antonyms=antonyms), bands, rgb, *shares)
    checkpoints.fill(supervisor, tensors, path)
    return supervisor.eval().requires_grad_(False)


def _gains(values: torch.Tensor, scale: float) -> torch.Tensor:
    """What stretches the 99.5th percentile of each row ``(C, n)`` of DN to 1, ``(1, C, 1, 1)``."""
    rank = max(1, int(0.995 * values.shape[1]))
    bright = values.float().kthvalue(rank, dim=1).values
    return (scale / bright.clamp(min=1e-6)).view(1, -1, 1, 1)
