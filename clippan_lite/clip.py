"""A frozen CLIP with differentiable features, :class:`Clip`, and how :func:`load_clip` finds it.

``load_clip("bundled")`` needs no network: the package ships a small CLIP that was trained by
:mod:`clippan_lite.pretraining.clip`. The same function loads any architecture of open_clip, with a
tag or a local file. This is the only module of the method that imports open_clip, and it does so
when a CLIP is loaded.
"""

import difflib
import hashlib
import json
import logging
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from clippan_lite.runtime import clip_catalogue
from clippan_lite.runtime.foreign_weights import load_weights
from clippan_lite.runtime.words import WordTokenizer, strict

BUNDLED = Path(__file__).parent / "weights" / "bundled_clip.safetensors"
PLACES = ("hf-hub:", "local-dir:")  # names that say where open_clip finds all it needs
Tokenizer = Callable[[Sequence[str]], torch.Tensor]


@dataclass
class Clip:
    """A frozen CLIP with what is needed to use it.

    Attributes:
        model: open_clip model in evaluation mode; no parameter requires a gradient.
        tokenize: texts -> ids ``(N, context)``; refuses empty and over-long texts.
        input_size: side of its square input in pixels.
        mean, std: of the three input channels, ``(1, 3, 1, 1)``; the ``encode_`` methods normalise.
        dim: length of a feature.
        name: ``"bundled"`` or the open_clip architecture.
        label: what was loaded, for titles and logs.
    """

    model: Any  # open_clip's CLIP: open_clip ships no types
    tokenize: Tokenizer
    input_size: int
    mean: torch.Tensor
    std: torch.Tensor
    dim: int
    name: str
    label: str
    _texts: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Unit features ``(B, dim)`` of images ``(B, 3, S, S)`` in [0, 1]; differentiable.

        Images of another size than ``input_size`` are resized. Prefer native crops: shrinking
        removes the very detail that fusion adds.

        Raises:
            ValueError: images of another shape. Where no gradient is asked for, also images that
                are not finite or far from [0, 1].
        """
        return F.normalize(self.model.encode_image(self._prepare(images)), dim=-1)

    def encode_tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Unit features ``(B, N, dim)`` of the places of images ``(B, 3, S, S)``; differentiable.

        N is side * side: the rows of a square grid from the top, each from left to right. A ViT has
        one place per patch: side = input_size / patch size, 8 for the included CLIP and 7 for
        ViT-B-32. A ResNet has one per 32 pixels: 7 for RN50. Value range and sizes are those of
        :meth:`encode_image`. The features lie in the same space, so they compare with texts. CLIP
        was trained for whole images only, so single places agree with texts less well.

        Raises:
            ValueError: images of another shape, or a CLIP whose visual encoder is neither of these.
        """
        from open_clip.modified_resnet import ModifiedResNet
        from open_clip.transformer import VisionTransformer

        images, visual = self._prepare(images), self.model.visual
        if isinstance(visual, ModifiedResNet):
            for stage in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
                images = stage(images)
            # Attention pooling without the attention, as in MaskCLIP: a place keeps its own value.
            values = visual.attnpool.v_proj(images.flatten(2).transpose(1, 2))
            return F.normalize(visual.attnpool.c_proj(values), dim=-1)
        if not isinstance(visual, VisionTransformer) or visual.attn_pool is not None:
            raise ValueError(
                f"no tokens from the visual encoder of {self.label}: expected open_clip's own ViT "
                f"(as in ViT-B-32) or ResNet (as in RN50), found {type(visual).__name__}; load one "
                "of those"
            )
        visual.output_tokens = True  # the visual encoder then gives (pooled, tokens)
        try:
            tokens = visual(images)[1]
        finally:
            visual.output_tokens = False
        if visual.final_ln_after_pool:
            tokens = visual.ln_post(tokens)
        return F.normalize(tokens @ visual.proj, dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit features ``(N, dim)`` of texts; each text is encoded once and cached.

        Raises:
            ValueError: no list of texts, an empty text, or one longer than the CLIP can read.
        """
        if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"expected a list of texts, found {texts!r}")
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            ids = self.tokenize(new).to(self.mean.device)
            features = F.normalize(self.model.encode_text(ids), dim=-1)
            self._texts.update(zip(new, features, strict=True))
        return torch.stack([self._texts[text] for text in texts])

    def _prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Images as the visual encoder takes them: checked, resized if need be, and normalised."""
        shape = tuple(getattr(images, "shape", ()))
        if not isinstance(images, torch.Tensor) or len(shape) != 4 or shape[1] != 3 or not shape[0]:
            raise ValueError(
                f"expected images (B, 3, S, S), found {shape or type(images).__name__}"
            )
        if not images.requires_grad:  # the losses watch over what is being trained
            largest = float(images.abs().amax())
            if not largest < 20:  # NaN, infinity, digital numbers
                raise ValueError(
                    f"expected images scaled to about [0, 1], found values up to {largest:.4g}"
                )
        images = images.to(self.mean.dtype)
        if images.shape[-2:] != (self.input_size, self.input_size):
            images = F.interpolate(images, (self.input_size,) * 2, mode="bicubic", antialias=True)
        return (images - self.mean) / self.std


def load_clip(
    clip: str = "bundled",
    pretrained: str | Path | None = None,
    device: str = "cpu",
    random_weights: bool = False,
) -> Clip:
    """Load a frozen CLIP and say in one line what was loaded.

    A tag whose weights were trained with the quick GELU loads the ``-quickgelu`` architecture. A
    local file does not say which GELU it was trained with, so none is guessed: OpenAI's own weights
    need the ``-quickgelu`` name. RemoteCLIP's README loads its files under the plain name, its
    retrieval script on top of OpenAI's tag: try both.

    Args:
        clip: ``"bundled"``, an open_clip architecture such as ``"ViT-B-32"``, a name of
            :mod:`clippan_lite.runtime.clip_catalogue` such as ``"remoteclip-vit-b-32"``, or what
            open_clip itself finds: ``"hf-hub:ORGANISATION/NAME"``, ``"local-dir:FOLDER"``.
        pretrained: open_clip tag such as ``"openai"`` (downloads once), or a local file with the
            tensors of a ``state_dict``: safetensors, else what ``torch.load(weights_only=True)``
            reads, in any float type. ``"bundled"`` takes a file of its architecture only.
        device: where the model goes.
        random_weights: for tests and controls only: keep the fresh random weights.

    Returns:
        Clip: frozen, in evaluation mode.

    Raises:
        FileNotFoundError: a weights file is missing.
        ValueError: unknown architecture or tag, no weights named, or a weights file that is
            corrupt, of another architecture, or holds NaN or infinity.
        RuntimeError: the tag's weights could not be downloaded, or the architecture not be built.
    """
    if random_weights and pretrained:
        raise ValueError(
            f"random weights and pretrained = {str(pretrained)!r} exclude each other; leave one out"
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch's own texts are long
        raise ValueError(
            f"device {device!r} cannot be used here: expected 'cpu' or, with a GPU, 'cuda'"
        ) from error
    clip, pretrained = clip_catalogue.resolve(clip, pretrained, fetch=not random_weights)
    file = local_file(pretrained)
    if file and not file.is_file():
        found = f"the folder {file}" if file.is_dir() else f"nothing at {file}"
        raise FileNotFoundError(
            f"{clip}: expected a weights file, found {found}; give a file, or a tag of open_clip"
        )
    tag = str(pretrained) if pretrained and not file else ""
    if clip == "bundled":
        loaded = _bundled(file, tag, random_weights)
    else:
        loaded = _of_open_clip(clip, file, tag, random_weights)
    state = loaded.model.state_dict()
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(
            f"weights of {loaded.label}: expected finite numbers, found NaN or infinity in "
            f"{broken[0]} ({len(broken)} tensors in all); get the weights again"
        )
    loaded.model.to(device).eval().requires_grad_(False)
    loaded.mean, loaded.std = loaded.mean.to(device), loaded.std.to(device)
    print(f"CLIP: {loaded.label}, input {loaded.input_size} px, features {loaded.dim}, on {device}")
    return loaded


def build_bundled(config: dict[str, Any]) -> tuple[Any, WordTokenizer]:
    """The bundled architecture with fresh weights, and its tokenizer.

    Args:
        config: content of ``weights/bundled_clip.json``. Its values are of many types, thus Any.
    """
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    tokenizer = WordTokenizer(config["words"], config["text_cfg"]["context_length"])
    text = CLIPTextCfg(**config["text_cfg"], vocab_size=tokenizer.end + 1)
    return CLIP(config["embed_dim"], CLIPVisionCfg(**config["vision_cfg"]), text), tokenizer


def _bundled(file: Path | None, tag: str, random_weights: bool) -> Clip:
    """The included CLIP with its own weights, those of a file, or random ones."""
    if tag:
        raise ValueError(
            f"the included CLIP has no tags, found {tag!r}; name the architecture with clip too"
        )
    config_file, weights = BUNDLED.with_suffix(".json"), file or BUNDLED
    for needed in (config_file, weights):
        if not needed.is_file():
            raise FileNotFoundError(
                f"included CLIP: {needed.name} is missing; "
                f"run: python -m clippan_lite.pretraining.clip --out {BUNDLED.parent}"
            )
    config = json.loads(config_file.read_text())
    model, tokenizer = build_bundled(config)
    if random_weights:
        return assembled(model, tokenizer, config, "bundled", "random weights")
    load_weights(model, weights)
    return assembled(model, tokenizer, config, "bundled", _short_hash(weights))


def _of_open_clip(clip: str, file: Path | None, tag: str, random_weights: bool) -> Clip:
    """A CLIP of open_clip with the weights of a file, those of a tag, or random ones."""
    import open_clip

    placed = str(clip).startswith(PLACES)
    if not placed and clip not in open_clip.list_models():
        known = [*open_clip.list_models(), *clip_catalogue.entries()]
        close = difflib.get_close_matches(str(clip), known, 4, 0.4)
        names = ", ".join(close or ["ViT-B-32", "ViT-B-16", "RN50"])
        raise ValueError(
            f"unknown CLIP {clip!r}: expected 'bundled' or an open_clip name such as {names}"
        )
    if placed and (file or tag):
        raise ValueError(f"{clip} brings its own weights, found {file or tag} too: leave one out")
    own = placed and not random_weights
    origin = file.name if file else tag or ("its own weights" if own else "random weights")
    if not (file or placed or random_weights):
        tags = open_clip.list_pretrained_tags_by_model(clip)
        expected = " or ".join([*tags, "a local weights file"])
        if not tag:
            raise ValueError(f"no weights named for {clip}: expected pretrained = {expected}")
        if not open_clip.is_pretrained_cfg(clip, tag):
            raise ValueError(f"unknown tag {tag!r} for {clip}: expected {expected}")
        if open_clip.is_pretrained_cfg(f"{clip}-quickgelu", tag):  # open_clip itself only warns
            clip, origin = f"{clip}-quickgelu", f"{tag}, trained with the quick GELU"
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # open_clip warns of random weights even if a file will follow
    options = {"pretrained": tag or None, "require_pretrained": bool(tag or own)}
    try:
        if placed and random_weights:
            options["load_weights"] = False
        model = open_clip.create_model(clip, **options)
        tokenizer = strict(open_clip.get_tokenizer(clip))
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise RuntimeError(
            f"{clip} ({origin}) could not be loaded "
            f"({textwrap.shorten(first_line, 200, placeholder=' ...')}); once, with a network, "
            'run: python -c "import open_clip; '
            f"open_clip.create_model('{clip}', pretrained={tag or None!r})\", "
            "or pass pretrained=<local file>, or clip='bundled'"
        ) from error
    finally:
        logging.disable(level)
    if file:
        load_weights(model, file)
    channels = {"mean": model.visual.image_mean, "std": model.visual.image_std}
    return assembled(model, tokenizer, open_clip.get_model_config(clip) | channels, clip, origin)


def assembled(
    model: Any, tokenize: Tokenizer, config: dict[str, Any], name: str, origin: str
) -> Clip:
    """A Clip from the configuration of its architecture, and where its weights come from."""
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    size, dim = config["vision_cfg"]["image_size"], config["embed_dim"]
    return Clip(model, tokenize, size, mean, std, dim, name, f"{name} ({origin})")


def local_file(pretrained: str | Path | None) -> Path | None:
    """The path that ``pretrained`` names, or None if it is empty or a tag.

    A path is an existing file, or a name with a suffix or a folder.
    """
    path = Path(pretrained or "").expanduser()
    return path if path.is_file() or path.suffix or len(path.parts) > 1 else None


def weights_stamp(clip: str, pretrained: str = "") -> str:
    """What tells one weights file from another, ``""`` where there is no file.

    It is the hash of the bundled file, size and time of any other.
    """
    path = local_file(pretrained) or (BUNDLED if clip == "bundled" else None)
    if path is None or not path.is_file():
        return ""
    facts = path.stat()
    return _short_hash(path) if path == BUNDLED else f"{facts.st_size}-{facts.st_mtime_ns}"


def _short_hash(path: Path) -> str:
    return "sha256 " + hashlib.sha256(path.read_bytes()).hexdigest()[:8]
