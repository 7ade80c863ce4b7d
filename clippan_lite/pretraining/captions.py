"""Captions that are true of an image: they state some of the attributes that it is known to have.

The wordings are the file ``captions.toml`` beside this module; its head explains the format.
"""

import re
import tomllib
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np

from clippan_lite import prompts
from clippan_lite.runtime.words import split_words

MOST_WORDS = 34  # the bundled tokenizer takes 38; some room is left for openings that users add
_DRAWS = 96  # random numbers drawn at once: faster than one by one, and enough for a caption

_FILE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
#: slot -> value -> wordings, the plainest first. A caption states some of an image's slots.
WORDS: dict[str, dict[str, list[str]]] = _FILE["words"]
PROTOCOL: list[str] = _FILE["protocol"]
#: Parts of a caption that say nothing about the attributes.
FILLERS: dict[str, list[str]] = _FILE["fillers"]
SLOTS = tuple(WORDS)
VALUES = {slot: tuple(values) for slot, values in WORDS.items()}

_WORDINGS = {slot: list(values.values()) for slot, values in WORDS.items()}
_SELDOM = ("surface", "tone", "light", "scale")
_QUALITY = ("sharp", "noise", "haze", "chroma", "colour", "aligned", "blocks", "verdict")
#: (slot, value) of a fault -> the slot that says how much of it there is.
_AMOUNTS = {
    ("sharp", 1): "blur_amount",
    ("sharp", 2): "halo_amount",
    ("noise", 1): "noise_amount",
    ("haze", 1): "haze_amount",
    ("colour", 1): "colour_amount",
    ("aligned", 1): "shift_amount",
}
_FAULT_OF = {amount: slot for (slot, _), amount in _AMOUNTS.items()}
_ALL_WORDINGS = list(chain.from_iterable(chain.from_iterable(_WORDINGS.values())))
_PREPOSITIONS = frozenset(_FILE["prepositions"])
_FUNCTION_WORDS = _PREPOSITIONS.union(_FILE["other_function_words"])
#: Wordings that can stand before the noun.
_ADJECTIVES = frozenset(w for w in _ALL_WORDINGS if _FUNCTION_WORDS.isdisjoint(w.split()))
_AN = re.compile(r"\ba (?=(?!uni|us[ae]|eu|one)[aeiou]|MS\b|NIR\b|RGB\b|HRMS\b|LRMS\b)")


def vocabulary() -> list[str]:
    """All words that captions and the package's prompts can hold, sorted."""
    texts = [*_ALL_WORDINGS, *PROTOCOL, "a an and that is by"]
    texts += chain.from_iterable(FILLERS.values())
    for prompt in prompts.PROMPTS.values():
        texts += [prompt.ms, prompt.pan, prompt.hrms]
    return sorted(set(split_words(" ".join(texts))))


def _any(wordings: list[str], u: float) -> str:
    """The wording that a uniform number in [0, 1) falls on."""
    return wordings[int(u * len(wordings))]


def _plain(wordings: list[str], u: float) -> str:
    """The same, but the first and plainest wording comes in 30 % of the cases."""
    if u < 0.3 or len(wordings) == 1:
        return wordings[0]
    return wordings[1 + int((u - 0.3) / 0.7 * (len(wordings) - 1))]


def _choose(has: dict[str, int], short: bool, draw: Callable[[], float]) -> list[str]:
    """The slots to state: at least one if any is known, two at most in a short caption."""
    chances = {"type": 0.35, "content": 0.3 if short else 0.58} | dict.fromkeys(_SELDOM, 0.12)
    slots = [slot for slot, chance in chances.items() if has[slot] >= 0 and draw() < chance]
    # A fault is worth more words than its absence: slots are drawn without replacement with weights
    # 3 and 1, which gives the order of u ** (1 / weight).
    keys = {s: draw() ** (1 / 3 if has[s] > 0 else 1.0) for s in _QUALITY if has[s] >= 0}
    quality = sorted(keys, key=keys.__getitem__, reverse=True)
    for slot in quality[: int(draw() * 4) or int(not slots)]:
        amount = _AMOUNTS.get((slot, has[slot]))
        slots.append(amount if amount and has[amount] >= 0 and draw() < 0.4 else slot)
    if not slots:  # only slots that are seldom stated are known
        slots = [slot for slot in chances if has[slot] >= 0][:1]
    return slots[:2] if short else slots


def _append(text: str, after: list[str], draw: Callable[[], float], comma: bool) -> str:
    """A text with the wordings that follow its noun, the first of them after a comma or not."""
    for wording in after:
        if not comma and wording.split(" ", 1)[0] in _PREPOSITIONS:
            text += f" {wording}"
        elif not comma and wording in _ADJECTIVES and draw() < 0.4:
            text += f" that is {wording}"
        elif comma and wording == after[-1] and wording not in _ADJECTIVES and draw() < 0.3:
            text += f" and {wording}"
        else:
            text += f", {wording}"
        comma = True
    return text


def caption(attributes: np.ndarray, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """Draw a caption that is true of an image.

    Args:
        attributes: an index into VALUES per slot, -1 where the image has no such attribute (it is
            neither MS nor PAN nor HRMS, its content is mixed). An amount whose fault the image has
            not is ignored.
        rng: decides what is stated, and in which words.

    Returns:
        The caption, of 34 words at most, and what it states: as ``attributes``, -1 where it says
        nothing. A stated amount states its fault too, so the caption is true of another image
        exactly if all stated slots agree.
    """
    has = dict(zip(SLOTS, attributes.tolist(), strict=True))
    stated = dict.fromkeys(SLOTS, -1)
    draw = iter(rng.random(_DRAWS).tolist()).__next__
    short = draw() < 0.2
    slots = _choose(has, short, draw)
    bare = short and draw() < 0.35  # wordings alone, without "an image"
    fused = "type" in slots and VALUES["type"][has["type"]] == "hrms"
    protocol = _any(PROTOCOL, draw()) if fused and not short and draw() < 0.5 else ""
    words = len(protocol.split()) or 8  # 8: the longest opening and noun
    content, before, after = "", [], []
    for slot in slots:
        wording = "" if protocol and slot == "type" else _plain(_WORDINGS[slot][has[slot]], draw())
        words += len(wording.split()) + (4 if slot == "content" else 2)  # and what joins it
        if words > MOST_WORDS:
            break
        for named in (slot, _FAULT_OF.get(slot, slot)):
            stated[named] = has[named]
        may_precede = wording in _ADJECTIVES and slot not in ("content", "surface")
        if slot == "content" and not bare:
            content = f" {_any(FILLERS['links'], draw())} {wording}"
        elif slot == "type" and may_precede:
            before.append(wording)
        elif may_precede and len(before) < 3 and not protocol and draw() < 0.5:
            # No comma before the type: "a sharp multispectral image".
            comma = before and not (len(before) == 1 and stated["type"] >= 0)
            before.insert(0, f"{wording}," if comma else wording)
        elif wording:
            after.append(wording)
    says = np.array(list(stated.values()))
    if bare:
        text = ", ".join(filter(None, [" ".join(before), *after])) or "image"
        return (f"{text} image" if before and not after and draw() < 0.5 else text), says
    opening = _any(FILLERS["openings"], draw()) if draw() < 0.12 else "a"
    text = protocol or " ".join([opening, *before, _plain(FILLERS["nouns"], draw())])
    if protocol and content:
        text += ","
    text = _append(text + content, after, draw, comma=bool(protocol or content))
    if not short and draw() < 0.3:
        filler = _filler(draw)
        if text.count(" ") + 7 <= MOST_WORDS:
            text += f", {filler}"
    return _AN.sub("an ", text), says


def _filler(draw: Callable[[], float]) -> str:
    """Where an image was taken, or how."""
    if draw() < 0.5:
        return _any(FILLERS["places"], draw())
    return f"{_any(FILLERS['verbs'], draw())} by {_any(FILLERS['sensors'], draw())}"
