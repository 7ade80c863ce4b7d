import numpy as np
import pytest

from clippan_lite.experiments import statistics


def test_paired_effect_has_sign_interval_and_direction():
    without = [{"PSNR": 30.0, "SAM": 4.0}, {"PSNR": 31.0, "SAM": 4.2}, {"PSNR": 32.0, "SAM": 4.4}]
    with_it = [{"PSNR": 30.5, "SAM": 4.1}, {"PSNR": 31.4, "SAM": 4.3}, {"PSNR": 32.6, "SAM": 4.5}]
    effect = statistics.paired_effects(with_it, without)
    assert effect["PSNR"]["difference"] == pytest.approx(0.5) and effect["PSNR"]["better"]
    # Student's t with 2 degrees of freedom is 4.3027; the deviation of (0.5, 0.4, 0.6) is 0.1.
    half = 4.3027 * 0.1 / 3**0.5
    assert effect["PSNR"]["t95"] == pytest.approx([0.5 - half, 0.5 + half], abs=1e-4)
    assert effect["SAM"]["difference"] == pytest.approx(0.1) and not effect["SAM"]["better"]
    assert statistics.paired_effects(with_it[:1], without[:1])["PSNR"]["t95"] is None


def test_pairs_without_any_spread_give_no_interval():
    same = statistics.effect([0.25, 0.25, 0.25 + 1e-13], "PSNR")
    assert same["t95"] is None and not same["clear"] and same["difference"] == pytest.approx(0.25)


def test_a_table_of_methods_marks_the_best():
    methods = {"EXP": {"QNR": 0.9, "SAM": 4.0}, "GSA": {"QNR": 0.8, "SAM": 3.0}}
    text = statistics.compared(methods, ["QNR", "SAM"])
    assert "| EXP | **0.9000** | 4.00 |" in text and "| GSA | 0.8000 | **3.00** |" in text
    text = statistics.compared(methods, ["QNR"], {"GSA": {"QNR": 0.01}})
    assert text.splitlines()[:2] == ["| method | QNR ↑ |", "|---|---|"]
    assert "| GSA | 0.8000 ± 0.0100 |" in text


def test_one_seed_has_no_deviation():
    assert statistics.over_seeds([{"SAM": 2.0}]) == ({"SAM": 2.0}, {"SAM": None})
    assert statistics.over_seeds([{"SAM": 2.0}, {"SAM": 4.0}])[1]["SAM"] == pytest.approx(2**0.5)


def test_agreement_is_the_rank_correlation_with_the_truth():
    truth = {
        "a": {"ERGAS": 1.0, "PSNR": 30.0},
        "b": {"ERGAS": 2.0, "PSNR": 25.0},
        "c": {"ERGAS": 3.0, "PSNR": 20.0},
    }
    without = {
        "a": {"QNR": 0.9, "D_s": 0.3},
        "b": {"QNR": 0.8, "D_s": 0.1},
        "c": {"QNR": 0.7, "D_s": 0.2},
    }
    assert statistics.agreement(without, truth) == pytest.approx({"QNR": 1.0, "D_s": -0.5})
    assert statistics.agreement(without, truth, "PSNR") == pytest.approx({"QNR": 1.0, "D_s": -0.5})
    with pytest.raises(ValueError, match="three methods or more, found 1"):
        statistics.agreement({"a": without["a"]}, truth)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.09, 0.2])
def test_equality_is_a_90_percent_interval_within_the_margin(shift):
    """Two one-sided tests at 5 % (Schuirmann), here by their interval; t(0.95, 4) from a table."""
    change = np.array([-0.06, -0.02, 0.0, 0.03, 0.05]) + shift
    half = 2.1318 * change.std(ddof=1) / np.sqrt(5)
    within = change.mean() - half > -0.1 and change.mean() + half < 0.1
    found = statistics.effect(change, "PSNR")
    assert (found["p_equal"] < 0.05) == within
    assert statistics.effect(change, "D_rho")["p_equal"] is None  # no margin was set


def test_many_comparisons_are_corrected():
    """Holm: the smallest of n must be below 0.05 / n, the next below 0.05 / (n - 1) ..."""
    cells = [{"difference": 1, "n": 5, "p": p, "p_equal": 1.0} for p in (0.03, 0.001, 0.02, 0.04)]
    assert statistics.outcomes(cells, rises=True) == ["open", "helps", "open", "open"]
    cells[2]["p"] = 0.016
    assert statistics.outcomes(cells, rises=True) == ["open", "helps", "helps", "open"]
    assert statistics.outcomes([cells[0]], rises=False) == ["harms"]
    assert statistics.outcomes([{**cells[0], "n": 4}], rises=True) == ["too few"]
