"""Load a CLIP and get differentiable features from it: the only library file that imports open_clip, and lazily.

``load_clip("bundled")`` needs no network: the package ships a small CLIP trained by :mod:`clippan_lite.pretraining.clip`.
Any open_clip architecture loads through the same function with a tag or a local file.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import json
import logging
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).parent / "weights"
BUNDLED = WEIGHTS / "bundled_clip.safetensors"
#: Means and standard deviations of the 3 input channels that OpenAI's CLIP and most of open_clip's were trained with.
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class WordTokenizer:
    """Words to rows of the bundled CLIP's token table: 0 pads, 1 is "unknown", 2 starts, the last row ends a text.

    open_clip reads a text's feature at the position of the largest id, so the end token has to be the last row.
    """

    def __init__(self, words: Sequence[str], context: int):
        self.rows = {word: i + 3 for i, word in enumerate(words)}
        self.context, self.end = context, len(words) + 3

    @property
    def vocab_size(self) -> int:
        """Rows of the token table."""
        return self.end + 1

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts to ids ``(N, context)`` int64; unknown words are named in one warning, over-long texts are refused."""
        ids = torch.zeros(len(texts), self.context, dtype=torch.long)
        unknown: set[str] = set()
        for row, text in zip(ids, texts, strict=True):
            words = split_words(text)
            if not any(word in self.rows for word in words):
                found = f"it knows none of {', '.join(words)}" if words else "found no word"
                raise ValueError(
                    f"prompt {text!r} is empty to the bundled CLIP: expected an English word that it knows, {found}"
                )
            if len(words) > self.context - 2:
                raise ValueError(
                    f"prompt too long: expected at most {self.context - 2} words, found {len(words)}; shorten it"
                )
            unknown.update(word for word in words if word not in self.rows)
            tokens = [2, *(self.rows.get(word, 1) for word in words), self.end]
            row[: len(tokens)] = torch.tensor(tokens)
        if unknown:
            warnings.warn(
                f"the bundled CLIP does not know: {', '.join(sorted(unknown))}", stacklevel=2
            )
        return ids


def split_words(text: str) -> list[str]:
    """Lower-case words of a text; punctuation and the possessive 's are dropped."""
    return re.findall(r"[^\W_]+", text.lower().replace("\u2019", "'").replace("'s", ""))


@dataclass
class Clip:
    """A frozen CLIP with what is needed to use it.

    Attributes:
        model: open_clip model in evaluation mode, no parameter requires a gradient.
        tokenize: texts -> ids ``(N, context)``; refuses empty and over-long texts.
        input_size: side of its square input in pixels.
        mean, std: normalisation of the three input channels, applied inside the ``encode_`` methods.
        dim: length of a feature.
        name: ``"bundled"`` or the open_clip architecture.
        label: what was loaded, for titles and logs.
    """

    model: nn.Module
    tokenize: Callable[[Sequence[str]], torch.Tensor]
    input_size: int
    mean: torch.Tensor
    std: torch.Tensor
    dim: int
    name: str
    label: str
    _texts: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Unit features ``(B, dim)`` of images ``(B, 3, S, S)`` in [0, 1]; gradients flow to the images.

        Images of another size than ``input_size`` are resized: prefer native crops, since shrinking removes the very
        detail that fusion adds.

        Raises:
            ValueError: images of another shape, or, where no gradient is asked for, not finite or far from [0, 1].
        """
        return F.normalize(self.model.encode_image(self._prepare(images)), dim=-1)

    def encode_tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Unit features ``(B, N, dim)`` of the places of images ``(B, 3, S, S)`` in [0, 1]; gradients flow to them.

        N is side * side: the rows of a square grid from the top, each from left to right. A ViT has one place per
        patch: side = input_size / patch size, 8 for the bundled CLIP and 7 for ViT-B-32. A ResNet has one per 32
        pixels: 7 for RN50. Sizes are handled as in :meth:`encode_image`, and features lie in the same space, so that
        they compare with texts; CLIP was trained for whole images only, so single places agree with texts less well.

        Raises:
            ValueError: images of another shape, or a CLIP whose visual encoder is neither of the two.
        """
        from open_clip.modified_resnet import ModifiedResNet
        from open_clip.transformer import VisionTransformer

        images, visual = self._prepare(images), self.model.visual
        if isinstance(visual, ModifiedResNet):
            for block in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
                images = block(images)
            # As in MaskCLIP: attention pooling without the attention, so that each place keeps its own value.
            values = visual.attnpool.v_proj(images.flatten(2).transpose(1, 2))
            return F.normalize(visual.attnpool.c_proj(values), dim=-1)
        if not isinstance(visual, VisionTransformer) or visual.attn_pool is not None:
            raise ValueError(
                f"no tokens from the visual encoder of {self.label}: expected open_clip's own ViT (as in ViT-B-32) or "
                f"ResNet (as in RN50), found {type(visual).__name__}; load one of those"
            )
        visual.output_tokens = (
            True  # open_clip's switch: the visual encoder then gives (pooled, tokens)
        )
        try:
            tokens = visual(images)[1]
        finally:
            visual.output_tokens = False
        if visual.final_ln_after_pool:
            tokens = visual.ln_post(tokens)
        return F.normalize(tokens @ visual.proj, dim=-1)

    def _prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Images as the visual encoder takes them: resized if need be, and normalised."""
        if (
            not isinstance(images, torch.Tensor)
            or images.ndim != 4
            or images.shape[1] != 3
            or not len(images)
        ):
            found = tuple(images.shape) if hasattr(images, "shape") else type(images).__name__
            raise ValueError(f"expected images (B, 3, S, S), found {found}")
        if not images.requires_grad:  # what is being trained is watched by its losses
            largest = float(images.abs().amax())
            if not largest < 20:  # NaN, infinity, digital numbers
                raise ValueError(
                    f"expected images scaled to about [0, 1], found values up to {largest:.4g}"
                )
        images = images.to(self.mean.dtype)
        if images.shape[-2:] != (self.input_size, self.input_size):
            images = F.interpolate(images, (self.input_size,) * 2, mode="bicubic", antialias=True)
        return (images - self.mean) / self.std

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit features ``(N, dim)`` of texts, each encoded once and cached.

        Raises:
            ValueError: no list of texts, an empty text, or one longer than the CLIP can read.
        """
        if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"expected a list of texts, found {texts!r}")
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            ids = self.tokenize(new).to(self.mean.device)
            self._texts.update(
                zip(new, F.normalize(self.model.encode_text(ids), dim=-1), strict=True)
            )
        return torch.stack([self._texts[text] for text in texts])


def _frozen(
    model: nn.Module, tokenize, size: int, mean, std, dim: int, name: str, label: str, device
) -> Clip:
    broken = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise ValueError(
            f"weights of {label}: expected finite numbers, found NaN or infinity in {broken[0]} "
            f"({len(broken)} tensors in all); get the weights again"
        )
    model = model.to(device).eval().requires_grad_(False)
    mean, std = (
        torch.tensor(v, dtype=torch.float32, device=device).view(1, 3, 1, 1) for v in (mean, std)
    )
    print(f"CLIP: {label}, input {size} px, features {dim}, on {device}")
    return Clip(model, tokenize, size, mean, std, dim, name, label)


def build_bundled(config: dict) -> tuple[nn.Module, WordTokenizer]:
    """The bundled architecture with fresh weights, and its tokenizer, from ``weights/bundled_clip.json``."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    tokenizer = WordTokenizer(config["words"], config["text_cfg"]["context_length"])
    text = CLIPTextCfg(**config["text_cfg"], vocab_size=tokenizer.vocab_size)
    return CLIP(config["embed_dim"], CLIPVisionCfg(**config["vision_cfg"]), text), tokenizer


def load_clip(
    clip: str = "bundled",
    pretrained: str | Path | None = None,
    device: str = "cpu",
    random_weights: bool = False,
) -> Clip:
    """Load a frozen CLIP and say in one line what was loaded.

    Args:
        clip: ``"bundled"``, or an open_clip architecture such as ``"ViT-B-32"``.
        pretrained: open_clip tag such as ``"openai"`` (downloads once), or a local file with the tensors of a
            ``state_dict``: safetensors, else what ``torch.load(weights_only=True)`` reads, in any float type. Not used
            by ``"bundled"``, unless it names a file of that architecture.
        device: where the model goes.
        random_weights: for tests and controls only: keep the fresh random weights.

    A tag whose weights were trained with the quick GELU loads the ``-quickgelu`` architecture. A local file does not
    say which GELU it was trained with, so none is guessed: OpenAI's own weights need the ``-quickgelu`` name.
    RemoteCLIP's README loads its files under the plain name, its retrieval script on top of OpenAI's tag: try both.

    Returns:
        Clip: frozen, in evaluation mode.

    Raises:
        FileNotFoundError: a weights file is missing.
        ValueError: unknown architecture or tag, no weights named, or a weights file that is corrupt, of another
            architecture, or holds NaN or infinity.
        RuntimeError: the tag's weights could not be downloaded, or the architecture could not be built.
    """
    if not isinstance(clip, str) or not clip:
        raise ValueError(
            f"expected 'bundled' or the name of an open_clip architecture, found {clip!r}"
        )
    if random_weights and pretrained:
        raise ValueError(
            f"random weights and pretrained = {str(pretrained)!r} exclude each other; leave one out"
        )
    _check_device(device)
    if clip == "bundled":
        config_file = BUNDLED.with_suffix(".json")
        if pretrained and not _local_file(pretrained):
            raise ValueError(
                f"the bundled CLIP has no tags, found {str(pretrained)!r}; name the architecture with clip too"
            )
        weights = _local_file(pretrained) or BUNDLED
        if pretrained and not weights.is_file():
            raise FileNotFoundError(
                f"bundled CLIP: expected a weights file, found {_what(weights)}; give a file"
            )
        for path in (config_file, weights):
            if not path.is_file():
                raise FileNotFoundError(
                    f"bundled CLIP: {path.name} is missing; run: python -m clippan_lite.pretraining.clip --out {WEIGHTS}"
                )
        config = json.loads(config_file.read_text())
        model, tokenizer = build_bundled(config)
        label = (
            "bundled (random weights)" if random_weights else f"bundled ({_short_hash(weights)})"
        )
        if not random_weights:
            _load_weights(model, weights)
        size, dim = config["vision_cfg"]["image_size"], config["embed_dim"]
        return _frozen(
            model, tokenizer, size, config["mean"], config["std"], dim, "bundled", label, device
        )
    return _load_open_clip(clip, pretrained, device, random_weights)


def _check_device(device: str) -> None:
    """Refuse a device that torch does not know or have."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch's own texts are long
        raise ValueError(
            f"device {device!r} cannot be used here: expected 'cpu' or, with a GPU, 'cuda'"
        ) from error


def _what(path: Path) -> str:
    """What lies at a path that is no file."""
    return f"the folder {path}" if path.is_dir() else f"nothing at {path}"


@contextlib.contextmanager
def _quiet(local: bool) -> Iterator[None]:
    """Without open_clip's warning of random weights, which is not true once a local file has been read."""
    before = logging.root.manager.disable
    if local:
        logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def weights_stamp(clip: str, pretrained: str = "") -> str:
    """What tells one weights file from another: the bundled one's hash, a local file's size and time, else nothing."""
    path = _local_file(pretrained) or (BUNDLED if clip == "bundled" else None)
    if path is None or not path.is_file():
        return ""
    return (
        _short_hash(path) if path == BUNDLED else f"{path.stat().st_size}-{path.stat().st_mtime_ns}"
    )


def _local_file(pretrained: str | Path | None) -> Path | None:
    """The path, if ``pretrained`` is one: an existing file, or a name with a suffix or a folder; else it is a tag."""
    if not pretrained:
        return None
    path = Path(pretrained).expanduser()
    return path if path.is_file() or path.suffix or len(path.parts) > 1 else None


def _load_open_clip(
    clip: str, pretrained: str | Path | None, device: str, random_weights: bool
) -> Clip:
    import open_clip

    names, tags = open_clip.list_models(), open_clip.list_pretrained_tags_by_model(clip)
    if clip not in names:
        close = difflib.get_close_matches(clip, names, 4, 0.4) or ["ViT-B-32", "ViT-B-16", "RN50"]
        raise ValueError(
            f"unknown CLIP {clip!r}: expected 'bundled' or an open_clip name such as {', '.join(close)}"
        )
    path, tag, label = None, None, f"{clip} (random weights)"
    if not random_weights:
        expected = (
            f"one of {', '.join(tags)}, or a local weights file" if tags else "a local weights file"
        )
        if not pretrained:
            raise ValueError(f"no weights named for {clip}: expected pretrained = {expected}")
        path, label = _local_file(pretrained), f"{clip} ({Path(pretrained).name})"
        if path is None:
            tag = str(pretrained)
            if not open_clip.is_pretrained_cfg(clip, tag):
                raise ValueError(f"unknown tag {tag!r} for {clip}: expected {expected}")
            if open_clip.is_pretrained_cfg(f"{clip}-quickgelu", tag):  # open_clip itself only warns
                clip = f"{clip}-quickgelu"
                label = f"{clip} ({tag}, trained with the quick GELU)"
        elif not path.is_file():
            raise FileNotFoundError(
                f"{clip}: expected a weights file, found {_what(path)}; give a file or a tag"
            )
    try:
        with _quiet(tag is None):
            model = open_clip.create_model(clip, pretrained=tag, require_pretrained=tag is not None)
        tokenizer = open_clip.get_tokenizer(clip)
    except Exception as error:
        reason = textwrap.shorten(
            (str(error).splitlines() or [type(error).__name__])[0], 200, placeholder=" ..."
        )
        what = f"weights {tag!r} for {clip}" if tag else clip
        raise RuntimeError(
            f"{what} could not be loaded ({reason}); once, with a network, run: "
            f"python -c \"import open_clip; open_clip.create_model('{clip}', pretrained={tag!r})\", "
            "or pass pretrained=<local file>, or clip='bundled'"
        ) from error
    if path is not None:
        _load_weights(model, path)
    size = model.visual.image_size
    size = size[0] if isinstance(size, tuple) else size
    mean = getattr(model.visual, "image_mean", None) or OPENAI_MEAN
    std = getattr(model.visual, "image_std", None) or OPENAI_STD
    with torch.no_grad():
        dim = model.encode_text(tokenizer(["a"])).shape[-1]
    return _frozen(model, _strict(tokenizer), size, mean, std, dim, clip, label, device)


def _strict(tokenizer) -> Callable[[Sequence[str]], torch.Tensor]:
    """An open_clip tokenizer that refuses texts that are empty, or that open_clip would cut without a word."""
    encode = getattr(tokenizer, "encode", None)
    if encode is None:  # open_clip's wrappers of transformers' tokenizers
        encode = functools.partial(tokenizer.tokenizer.encode, add_special_tokens=False)

    def tokenize(texts: Sequence[str]) -> torch.Tensor:
        room = tokenizer.context_length - 2  # a start and an end token
        for text in texts:
            found = len(encode(text))
            if not found:
                raise ValueError(f"prompt {text!r} is empty: expected at least one word")
            if found > room:
                raise ValueError(
                    f"prompt too long: expected at most {room} tokens, found {found}; shorten it"
                )
        return tokenizer(texts)

    return tokenize


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file by name, without a wrapping ``state_dict`` or ``module``; runs no code from the file."""
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of TorchScript, which weights_only refuses
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's own text is long, and advises to run the file's code
        raise ValueError(
            f"{path.name} is no intact weights file ({type(error).__name__}): expected safetensors, or a .pt with the "
            "tensors of a state_dict alone (OpenAI's own .pt is a program: use its tag); get it again"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise ValueError(
            f"{path.name}: expected the tensors of a state_dict, found a {type(state).__name__}"
        )
    state = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    for prefix in ("state_dict.", "module."):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _load_weights(model: nn.Module, path: Path) -> None:
    """Copy the weights of a file into a model; anything that does not fit is one line."""
    try:
        model.load_state_dict(_read_weights(path))
    except RuntimeError as error:
        lines = str(error).splitlines()
        first = textwrap.shorten(lines[min(1, len(lines) - 1)].strip(), 120, placeholder=" ...")
        raise ValueError(
            f"{path.name} holds weights of another architecture than expected ({first}); name theirs with clip"
        ) from error


def _short_hash(path: Path) -> str:
    return "sha256 " + hashlib.sha256(path.read_bytes()).hexdigest()[:8]
