"""Chapters show the loops from the source."""

import pytest

from clippan_lite import adaptation, training
from clippan_lite.course.listing import listing


def test_the_loop_is_shown_from_the_source():
    text = listing(training.train, "for step in steps:", "state.remove").data
    lines = text.splitlines()
    assert lines[0] == "```python" and lines[1] == "for step in steps:" and lines[-1] == "```"
    assert lines[2] == "    by_scale = batches.draw(step)" and "optimiser.step()" in text
    assert '"""' not in text and "return" not in text


def test_the_body_is_shown_without_the_docstring():
    text = listing(adaptation.adapt).data
    assert (
        text.startswith("```python\nconfig, prompts = config or AdaptConfig()")
        and "Args:" not in text
    )
    with pytest.raises(ValueError, match="begins with 'while', found none"):
        listing(adaptation.adapt, "while")
    folded = listing(adaptation.adapt, folded=True).data
    assert folded.startswith("<details><summary>") and text in folded
