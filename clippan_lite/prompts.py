"""The sentences, as data.

A prompt set names the three image types of CLIPPan: MS, PAN and the wanted fused image (HRMS). The
MS and PAN sentences and the first HRMS sentence are the paper's (arXiv 2511.10896). The other sets
are ours and serve as controls.
"""

from dataclasses import dataclass

#: What a fused picture should look like and what it should not, for the loss "words". The first
#: three pairs suit a single band too, shown in grey.
ANTONYMS = (
    ("a sharp image", "a blurred image"),
    ("a sharp image", "an oversharpened image"),
    ("a clean image", "a noisy image"),
    ("an image in natural colours", "an image with false colours"),
)


@dataclass(frozen=True)
class PromptSet:
    """Three sentences, what the set is for, and pairs of (wanted, unwanted) words."""

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
        "High-quality reference image adhering to Wald's protocol: spectrally consistent with "
        "original data and spatially sharp",
        "the paper's best",
    ),
    "khan": PromptSet(
        _MS,
        _PAN,
        "High-quality fused image following Khan's protocol: low frequencies from the "
        "multispectral image, details from the panchromatic image",
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
    """Look up a prompt set by name, or build one from an HRMS sentence of your own.

    Args:
        prompt: a key of :data:`PROMPTS`, or a sentence that describes the fused image. Anything
            with a space in it is a sentence.

    Returns:
        The prompt set. Around a sentence of your own it holds the paper's MS and PAN sentences.

    Raises:
        ValueError: the prompt is empty or a single unknown word.
    """
    if isinstance(prompt, str) and prompt in PROMPTS:
        return PROMPTS[prompt]
    if not isinstance(prompt, str) or " " not in prompt.strip():
        raise ValueError(
            f"unknown prompt {prompt!r}: expected one of {', '.join(PROMPTS)}, or a sentence of "
            "several words"
        )
    return PromptSet(_MS, _PAN, prompt.strip())
