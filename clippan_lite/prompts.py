"""The sentences, as data.

A prompt set names the three image types of CLIPPan: MS, PAN and the wanted fused image (HRMS). The MS and PAN
sentences and the first HRMS sentence are the paper's (arXiv 2511.10896); the other sets are ours and serve as controls.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What a fused picture should look like and what it should not, for ``losses.words``; the first three are asked of
#: single bands too, shown in grey.
ANTONYMS = (
    ("a sharp image", "a blurred image"),
    ("a sharp image", "an oversharpened image"),
    ("a clean image", "a noisy image"),
    ("an image in natural colours", "an image with false colours"),
)
OF_BANDS = 3


@dataclass(frozen=True)
class PromptSet:
    """Three sentences: ``ms``, ``pan`` and ``hrms``, what the set is for, and pairs of (wanted, unwanted) words."""

    ms: str
    pan: str
    hrms: str
    purpose: str = "user's own"
    antonyms: tuple[tuple[str, str], ...] = ANTONYMS


_MS, _PAN = "a multispectral image", "a panchromatic image"

PROMPTS = {
    "wald": PromptSet(
        _MS,
        _PAN,
        "High-quality reference image adhering to Wald's protocol: spectrally consistent with original data and "
        "spatially sharp",
        "the paper's best",
    ),
    "khan": PromptSet(
        _MS,
        _PAN,
        "High-quality fused image following Khan's protocol: low frequencies from the multispectral image, details "
        "from the panchromatic image",
        "the paper's alternative protocol, our wording",
    ),
    "notes": PromptSet(
        _MS,
        _PAN,
        "a fused image adhering to Wald's protocol",
        "the short form in which the paper is summed up",
    ),
    "quality": PromptSet(
        _MS, _PAN, "a sharp, clean image in natural colours", "plain words instead of a protocol"
    ),
    "content": PromptSet(
        _MS, _PAN, "an image of houses, fields, forest and water", "control: content, no quality"
    ),
    "wrong": PromptSet(
        _MS,
        _PAN,
        "a blurred image with false colours",
        "control: the opposite of what is wanted",
        tuple((unwanted, wanted) for wanted, unwanted in ANTONYMS),
    ),
    "nonsense": PromptSet(
        "a red car",
        "a white roof",
        "a road beside a river",
        "control: unrelated to fusion",
        (
            ("a red car", "a white roof"),
            ("a road", "a river"),
            ("a field", "a forest"),
            ("a house", "water"),
        ),
    ),
}


def get(prompt: str) -> PromptSet:
    """Look a prompt set up by name, or build one from an HRMS sentence of your own.

    Args:
        prompt: a key of :data:`PROMPTS`, or a sentence (anything with a space in it) that describes the fused image.

    Returns:
        PromptSet: with the paper's MS and PAN sentences when only the HRMS sentence was given.

    Raises:
        ValueError: the prompt is empty or a single unknown word.
    """
    if not isinstance(prompt, str):
        raise ValueError(f"expected the name of a prompt or a sentence, found {prompt!r}")
    if prompt in PROMPTS:
        return PROMPTS[prompt]
    if " " in prompt.strip():
        return PromptSet(_MS, _PAN, prompt.strip())
    raise ValueError(
        f"unknown prompt {prompt!r}: expected one of {', '.join(PROMPTS)}, or a sentence of several words"
    )
