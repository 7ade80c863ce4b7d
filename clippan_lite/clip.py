"""Load a CLIP and get differentiable features from it: the only library file that imports open_clip, and lazily.

``load_clip("bundled")`` needs no network: the package ships a small CLIP trained by :mod:`clippan_lite.pretrain_clip`.
Any open_clip architecture loads through the same function with a tag or a local file.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Sequence
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
                raise ValueError(
                    f"prompt {text!r} is empty to the bundled CLIP: expected at least one English word it knows"
                )
            if len(words) > self.context - 2:
                raise ValueError(f"prompt too long: expected at most {self.context - 2} words, found {len(words)}")
            unknown.update(word for word in words if word not in self.rows)
            tokens = [2, *(self.rows.get(word, 1) for word in words), self.end]
            row[: len(tokens)] = torch.tensor(tokens)
        if unknown:
            warnings.warn(f"the bundled CLIP does not know: {', '.join(sorted(unknown))}", stacklevel=2)
        return ids


def split_words(text: str) -> list[str]:
    """Lower-case words of a text; punctuation and the possessive 's are dropped."""
    return re.findall(r"[a-z0-9]+", text.lower().replace("'s", ""))


@dataclass
class Clip:
    """A frozen CLIP with what is needed to use it.

    Attributes:
        model: open_clip model in evaluation mode, no parameter requires a gradient.
        tokenize: texts -> ids.
        input_size: side of its square input in pixels.
        mean, std: normalisation of the three input channels, applied inside :meth:`encode_image`.
        dim: length of a feature.
        label: what was loaded, for titles and logs.
    """

    model: nn.Module
    tokenize: Callable[[Sequence[str]], torch.Tensor]
    input_size: int
    mean: torch.Tensor
    std: torch.Tensor
    dim: int
    label: str
    _texts: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Unit features ``(B, dim)`` of images ``(B, 3, S, S)`` in [0, 1]; gradients flow to the images.

        Images of another size than ``input_size`` are resized: prefer native crops, since shrinking removes the very
        detail that fusion adds.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected images (B, 3, S, S), found {tuple(images.shape)}")
        if images.shape[-2:] != (self.input_size, self.input_size):
            images = F.interpolate(images, (self.input_size,) * 2, mode="bicubic", antialias=True)
        return F.normalize(self.model.encode_image((images - self.mean) / self.std), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit features ``(N, dim)`` of texts, each encoded once and cached."""
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            ids = self.tokenize(new).to(self.mean.device)
            self._texts.update(zip(new, F.normalize(self.model.encode_text(ids), dim=-1), strict=True))
        return torch.stack([self._texts[text] for text in texts])


def _frozen(model: nn.Module, tokenize, size: int, mean, std, dim: int, label: str, device) -> Clip:
    model = model.to(device).eval().requires_grad_(False)
    mean, std = (torch.tensor(v, dtype=torch.float32, device=device).view(1, 3, 1, 1) for v in (mean, std))
    print(f"CLIP: {label}, input {size} px, features {dim}, on {device}")
    return Clip(model, tokenize, size, mean, std, dim, label)


def build_bundled(config: dict) -> tuple[nn.Module, WordTokenizer]:
    """The bundled architecture with fresh weights, and its tokenizer, from ``weights/bundled_clip.json``."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    tokenizer = WordTokenizer(config["words"], config["text_cfg"]["context_length"])
    text = CLIPTextCfg(**config["text_cfg"], vocab_size=tokenizer.vocab_size)
    return CLIP(config["embed_dim"], CLIPVisionCfg(**config["vision_cfg"]), text), tokenizer


def load_clip(
    clip: str = "bundled", pretrained: str | Path | None = None, device: str = "cpu", random_weights: bool = False
) -> Clip:
    """Load a frozen CLIP and say in one line what was loaded.

    Args:
        clip: ``"bundled"``, or an open_clip architecture such as ``"ViT-B-32-quickgelu"`` (the one that OpenAI's
            weights need).
        pretrained: open_clip tag such as ``"openai"`` (downloads once), or a local weights file. Not used by
            ``"bundled"``, unless it names a safetensors file of that architecture.
        device: where the model goes.
        random_weights: for tests and controls only: keep the fresh random weights.

    Returns:
        Clip: frozen, in evaluation mode.

    Raises:
        FileNotFoundError: a weights file is missing.
        ValueError: unknown architecture or tag, weights of another architecture, or no weights named.
        RuntimeError: the tag's weights could not be downloaded.
    """
    if clip == "bundled":
        config_file = BUNDLED.with_suffix(".json")
        if pretrained and not _local_file(pretrained):
            raise ValueError(
                f"the bundled CLIP has no tags, found {str(pretrained)!r}; name the architecture with clip too"
            )
        weights = _local_file(pretrained) or BUNDLED
        if pretrained and not weights.is_file():
            raise FileNotFoundError(f"bundled CLIP: weights file {weights} does not exist; give an existing file")
        for path in (config_file, weights):
            if not path.is_file():
                raise FileNotFoundError(
                    f"bundled CLIP: {path.name} is missing; run: python -m clippan_lite.pretrain_clip"
                )
        config = json.loads(config_file.read_text())
        model, tokenizer = build_bundled(config)
        label = "bundled (random weights)" if random_weights else f"bundled ({_short_hash(weights)})"
        if not random_weights:
            _load_safetensors(model, weights)
        size, dim = config["vision_cfg"]["image_size"], config["embed_dim"]
        return _frozen(model, tokenizer, size, config["mean"], config["std"], dim, label, device)
    return _load_open_clip(clip, pretrained, device, random_weights)


def weights_stamp(clip: str, pretrained: str = "") -> str:
    """What tells one weights file from another: the bundled one's hash, a local file's size and time, else nothing."""
    path = _local_file(pretrained) or (BUNDLED if clip == "bundled" else None)
    if path is None or not path.is_file():
        return ""
    return _short_hash(path) if path == BUNDLED else f"{path.stat().st_size}-{path.stat().st_mtime_ns}"


def _local_file(pretrained: str | Path | None) -> Path | None:
    """The path, if ``pretrained`` is one: an existing file, or a name with a suffix or a folder; else it is a tag."""
    if not pretrained:
        return None
    path = Path(pretrained).expanduser()
    return path if path.is_file() or path.suffix or len(path.parts) > 1 else None


def _load_open_clip(clip: str, pretrained: str | Path | None, device: str, random_weights: bool) -> Clip:
    import open_clip

    if clip not in open_clip.list_models():
        close = difflib.get_close_matches(clip, open_clip.list_models(), 4, 0.4)
        close = close or ["ViT-B-32-quickgelu", "ViT-B-16", "RN50"]
        raise ValueError(f"unknown CLIP {clip!r}: expected 'bundled' or an open_clip name such as {', '.join(close)}")
    if random_weights:
        pretrained, label = None, f"{clip} (random weights)"
    elif not pretrained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(clip)) or "a local file"
        raise ValueError(f"no weights named for {clip}: expected pretrained = one of {tags}, or a local weights file")
    else:
        label = f"{clip} ({Path(pretrained).name})"
    path = _local_file(pretrained)
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"{clip}: weights file {path} does not exist; give an existing file or a tag")
    tags = open_clip.list_pretrained_tags_by_model(clip)
    if pretrained and path is None and pretrained not in tags:
        raise ValueError(f"unknown tag {pretrained!r} for {clip}: expected one of {', '.join(tags)}, or a local file")
    if pretrained and (path is None or path.suffix != ".safetensors"):
        try:
            model = open_clip.create_model(clip, pretrained=str(pretrained), require_pretrained=True)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
            raise RuntimeError(
                f"weights {str(pretrained)!r} for {clip} could not be loaded ({reason}); once, with a network, run: "
                f"python -c \"import open_clip; open_clip.create_model('{clip}', pretrained='{pretrained}')\", "
                "or pass pretrained=<local file>, or clip='bundled'"
            ) from error
    else:
        model = open_clip.create_model(clip, pretrained=None)
        if path is not None:
            _load_safetensors(model, path)
    size = model.visual.image_size
    size = size[0] if isinstance(size, tuple) else size
    mean = getattr(model.visual, "image_mean", None) or OPENAI_MEAN
    std = getattr(model.visual, "image_std", None) or OPENAI_STD
    with torch.no_grad():
        dim = model.encode_text(open_clip.get_tokenizer(clip)(["a"])).shape[-1]
    return _frozen(model, open_clip.get_tokenizer(clip), size, mean, std, dim, label, device)


def _load_safetensors(model: nn.Module, path: Path) -> None:
    """Copy fp16 or fp32 weights into a model; anything that does not fit is one line."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = {name: value.float() for name, value in load_file(path).items()}
        model.load_state_dict(state)
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no intact safetensors file ({error}); get it again") from error
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise ValueError(
            f"{path.name} holds weights of another architecture: {lines[min(1, len(lines) - 1)].strip()[:120]}"
        ) from error


def _short_hash(path: Path) -> str:
    return "sha256 " + hashlib.sha256(path.read_bytes()).hexdigest()[:8]
