"""Captions for the bundled CLIP's training: the attributes an image can have, their wordings, and its vocabulary."""

from __future__ import annotations

import re

import numpy as np

from clippan_lite import clip, prompts

#: slot -> value -> wordings. A caption states a random subset of an image's slots.
WORDS: dict[str, dict[str, list[str]]] = {
    "content": {
        "field": ["fields", "farmland", "crops", "agricultural fields", "meadows and crops"],
        "forest": ["forest", "trees", "a dense forest", "woodland"],
        "houses": ["houses", "a residential area", "roofs and gardens", "a town of houses", "buildings with red roofs"],
        "industry": ["an industrial area", "large halls", "warehouses with a white roof", "industry and parking lots"],
        "water": ["water", "a lake", "a river", "dark water"],
        "road": ["a road", "a street", "roads", "a road beside a field"],
        "soil": ["bare soil", "sand", "bare ground", "dry soil"],
    },
    "sharp": {
        "sharp": ["sharp", "spatially sharp", "with sharp details", "in focus", "high resolution", "crisp"],
        "blurred": ["blurred", "low resolution", "with blurred details", "out of focus", "smooth and unsharp"],
        "over": ["oversharpened", "with halos", "with exaggerated edges", "too sharp, with ringing"],
    },
    "noise": {
        "clean": ["clean", "without noise", "free of noise"],
        "noisy": ["noisy", "with noise", "grainy", "with strong noise"],
    },
    "haze": {
        "clear": ["clear", "without haze", "high contrast", "under a clear sky"],
        "hazy": ["hazy", "with haze", "low contrast", "seen through haze"],
    },
    "colour": {
        "natural": [
            "in natural colours",
            "in colour",
            "spectrally consistent with original data",
            "with faithful spectra",
        ],
        "false": ["with false colours", "colour distorted", "spectrally distorted", "with wrong spectra"],
        "grey": ["in grey", "grayscale", "single band", "black and white"],
    },
    "aligned": {
        "aligned": ["well registered", "aligned"],
        "fringed": ["misregistered", "with colour fringes", "with shifted bands"],
    },
    "blocks": {
        "smooth": ["without blocks"],
        "blocky": ["blocky", "with blocks", "pixelated"],
    },
    "type": {
        "ms": ["multispectral", "low resolution multispectral", "original multispectral"],
        "pan": ["panchromatic", "high resolution panchromatic", "grayscale panchromatic"],
        "hrms": ["pansharpened", "fused", "high quality reference", "high resolution multispectral"],
    },
}
PROTOCOL = [
    "high quality reference image adhering to Wald protocol",
    "adhering to Wald protocol: spectrally consistent with original data and spatially sharp",
    "high quality fused image following Khan protocol",
    "following Khan protocol: low frequencies from the multispectral image, details from the panchromatic image",
    "high quality reference image: spectrally consistent with original data and spatially sharp",
]
NOUNS = ["image", "satellite image", "overhead scene", "aerial photograph", "picture from above", "scene"]
SLOTS = tuple(WORDS)
VALUES = {slot: tuple(values) for slot, values in WORDS.items()}


def vocabulary() -> list[str]:
    """All words that captions and the package's prompts can hold, sorted."""
    texts = [text for slot in WORDS.values() for texts in slot.values() for text in texts]
    texts += PROTOCOL + NOUNS + ["a an the of and with showing that is in"]
    texts += [text for p in prompts.PROMPTS.values() for text in (p.ms, p.pan, p.hrms)]
    return sorted({word for text in texts for word in clip.split_words(text)})


def caption(attributes: np.ndarray, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """One caption true of an image, and the slots it states (-1 where it says nothing).

    ``attributes`` holds an index into VALUES per slot, -1 where the image has no such attribute (an image that is
    neither MS nor PAN nor HRMS, or whose content is mixed).
    """
    stated = np.full(len(SLOTS), -1)

    def say(slot: str) -> str:
        index = SLOTS.index(slot)
        stated[index] = attributes[index]
        return str(rng.choice(WORDS[slot][VALUES[slot][attributes[index]]]))

    known = [slot for slot, value in zip(SLOTS, attributes, strict=True) if value >= 0]
    noun = str(rng.choice(NOUNS))
    if "type" in known and rng.random() < 0.5:
        if VALUES["type"][attributes[SLOTS.index("type")]] == "hrms" and rng.random() < 0.5:
            stated[SLOTS.index("type")] = attributes[SLOTS.index("type")]
            head = str(rng.choice(PROTOCOL))
        else:
            head = f"a {say('type')} {noun}"
    else:
        head = f"a {noun}"
    if "content" in known and rng.random() < 0.55:
        head += f" {rng.choice(['of', 'showing', 'with'])} {say('content')}"
    quality = [slot for slot in known if slot not in ("type", "content")]
    # What is wrong with an image is worth saying more often than what is right with it.
    weights = np.array([3.0 if attributes[SLOTS.index(slot)] > 0 else 1.0 for slot in quality])
    count = min(len(quality), int(rng.integers(0, 4)) or int((stated < 0).all()))
    for slot in rng.choice(quality, count, replace=False, p=weights / weights.sum()):
        head += f", {say(str(slot))}"
    return re.sub(r"\ba (?=[aeiou])", "an ", head), stated
