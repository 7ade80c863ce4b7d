import pytest
import torch

from clippan_lite.course.exercises import EMPTY, NOTHING_BACK, RIGHT, tried, verdict, verdict_of

WANTED = torch.tensor([[1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        (None, EMPTY),
        (WANTED.numpy(), RIGHT),
        (WANTED + 1e-4, RIGHT),
        (-WANTED, "wrong sign"),
        (WANTED * 16, "16 times what"),
        (WANTED / 4, "0.25 times what"),
        (WANTED + 2, "too large by 2 everywhere"),
        (WANTED.T, "differs by up to 1, where the values reach 5"),
        (WANTED[0], r"shape (2,), expected (2, 2)"),
        (WANTED / 0, "not finite"),
        (WANTED * 0, "is 0 everywhere"),
        ("text", "is a str, expected numbers"),
        (WANTED * 1j, "is complex, expected a real number"),
    ],
)
def test_usual_slips_are_named(mine, said):
    assert said in verdict(mine, WANTED)


def test_other_kinds():
    assert verdict({}, {"a": 1}) == EMPTY and verdict({"a": 1.0005}, {"a": 1}) == RIGHT
    assert "b missing" in verdict({"a": 1}, {"a": 1, "b": 2})
    assert "a is 3, expected about 1" in verdict({"a": 3}, {"a": 1})
    assert "expected a dictionary" in verdict(3, {"a": 1})
    assert verdict("MS", "MS") == RIGHT and "'PAN', not 'MS'" in verdict("PAN", "MS")
    assert verdict(True, True) == RIGHT
    assert verdict({"shape": torch.Size([4, 8])}, {"shape": [4, 8]}) == RIGHT
    assert "shape is [8, 4], not [4, 8]" in verdict({"shape": (8, 4)}, {"shape": [4, 8]})


def unfinished(x):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        (lambda x: (x**2).mean(), RIGHT),
        (lambda x: (x * x.detach()).mean(), "gradient is 0.5 times what"),
        (lambda x: (x.detach() ** 2).mean(), "no gradient reaches the input"),
        (lambda x: float((x**2).mean()), "no gradient reaches the input"),
        (lambda x: (x**2).sum(), "the result is 39"),
        (lambda x: x @ x[:, :1].T, "stops with RuntimeError"),
        (lambda x: None, NOTHING_BACK),
        (unfinished, NOTHING_BACK),
    ],
)
def test_functions_are_compared_with_their_gradient(mine, said):
    assert said in verdict_of(mine, lambda x: (x**2).mean(), WANTED)


def test_without_gradient_and_with_more_inputs():
    said = verdict_of(lambda x, k: x.detach() * k, lambda x, k: x * k, WANTED, 2, gradient=False)
    assert said == RIGHT


def test_a_function_that_stops_or_returns_nothing_is_told():
    def stops(x):
        raise ValueError("shapes differ")

    error = tried(stops, 1)
    assert verdict(error, 1) == ("Not yet: your function stops with ValueError: shapes differ")
    assert tried(abs, -1) == 1
    x = torch.ones(2)
    assert verdict_of(lambda x: None, lambda x: x, x) == NOTHING_BACK
    assert verdict_of(stops, lambda x: x, x).endswith("shapes differ")
