"""Texts to ids of tokens: the included CLIP's words, and open_clip's tokenizers made strict.

A prompt that is empty to a CLIP, or too long for it, is refused and never cut.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch


class WordTokenizer:
    """Words to rows of the included CLIP's token table.

    Row 0 pads, row 1 stands for any unknown word, row 2 starts a text and the last row ends it.
    open_clip reads a text's feature at the position of the largest id, so the end has to be last.
    """

    def __init__(self, words: Sequence[str], context: int):
        self.rows = {word: i + 3 for i, word in enumerate(words)}
        self.context, self.end = context, len(words) + 3

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts to ids ``(N, context)`` int64; one warning names all unknown words.

        Raises:
            ValueError: a text without a known word, or one that is too long.
        """
        ids = torch.zeros(len(texts), self.context, dtype=torch.long)
        unknown: set[str] = set()
        for row, text in zip(ids, texts, strict=True):
            words = split_words(text)
            unknown.update(set(words) - self.rows.keys())
            if unknown.issuperset(words):
                found = f"none of the words {', '.join(words)}" if words else "no word in it"
                raise ValueError(
                    f"prompt {text!r}: the included CLIP knows {found}; expected an English word "
                    "that it knows, such as sharp"
                )
            room = self.context - 2  # a start and an end token
            if len(words) > room:
                raise ValueError(
                    f"prompt too long: expected at most {room} words, found {len(words)}; "
                    "shorten it"
                )
            tokens = [2, *(self.rows.get(word, 1) for word in words), self.end]
            row[: len(tokens)] = torch.tensor(tokens)
        if unknown:
            names = ", ".join(sorted(unknown))
            warnings.warn(f"the included CLIP does not know: {names}", stacklevel=2)
        return ids


def split_words(text: str) -> list[str]:
    """Lower-case words of a text; punctuation and the possessive 's are dropped."""
    return re.findall(r"[^\W_]+", text.lower().replace("\u2019", "'").replace("'s", ""))


def strict(
    tokenizer: Any,
) -> Callable[[Sequence[str]], torch.Tensor]:  # Any: open_clip ships no types
    """An open_clip tokenizer that refuses empty texts, and those that open_clip would cut."""
    encode = getattr(tokenizer, "encode", None)
    if encode is None:  # open_clip's wrappers of transformers' tokenizers
        encode = functools.partial(tokenizer.tokenizer.encode, add_special_tokens=False)

    room = tokenizer.context_length - 2  # a start and an end token

    def tokenize(texts: Sequence[str]) -> torch.Tensor:
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
