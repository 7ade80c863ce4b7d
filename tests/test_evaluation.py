from dataclasses import replace

import pytest
import torch

from clippan_lite.experiments import statistics
from clippan_lite.metrics import evaluation


def test_paired_effect_has_sign_interval_and_direction():
    without = [{"PSNR": 30.0, "SAM": 4.0}, {"PSNR": 31.0, "SAM": 4.2}, {"PSNR": 32.0, "SAM": 4.4}]
    with_it = [{"PSNR": 30.5, "SAM": 4.1}, {"PSNR": 31.4, "SAM": 4.3}, {"PSNR": 32.6, "SAM": 4.5}]
    effect = statistics.paired_effect(with_it, without)
    assert effect["PSNR"]["difference"] == pytest.approx(0.5) and effect["PSNR"]["better"]
    # Student's t with 2 degrees of freedom is 4.3027; the deviation of (0.5, 0.4, 0.6) is 0.1.
    assert effect["PSNR"]["ci95"] == pytest.approx(
        [0.5 - 4.3027 * 0.1 / 3**0.5, 0.5 + 4.3027 * 0.1 / 3**0.5], abs=1e-4
    )
    assert effect["SAM"]["difference"] == pytest.approx(0.1) and not effect["SAM"]["better"]
    assert statistics.paired_effect(with_it[:1], without[:1])["PSNR"]["ci95"] is None


def test_truth_is_best(small_pair):
    table = evaluation.against_truth(small_pair.truth, small_pair)
    assert (
        table["ERGAS"] == 0
        and table["SAM"] == pytest.approx(0, abs=1e-3)
        and table["Q2n"] == pytest.approx(1)
    )
    noisy = small_pair.truth + 20 * torch.randn(
        small_pair.truth.shape, generator=torch.Generator().manual_seed(0)
    )
    assert evaluation.against_truth(noisy, small_pair)["ERGAS"] > 0.5


def test_markdown_marks_the_best():
    text = statistics.markdown(
        {"EXP": {"QNR": 0.9, "SAM": 4.0}, "GSA": {"QNR": 0.8, "SAM": 3.0}}, ["QNR", "SAM"]
    )
    assert "| EXP | **0.9000** | 4.00 |" in text and "| GSA | 0.8000 | **3.00** |" in text


def test_nodata_neither_helps_nor_hurts(small_pair):
    noisy = small_pair.truth + 20 * torch.randn(
        small_pair.truth.shape, generator=torch.Generator().manual_seed(0)
    )
    valid = torch.ones(256, 256, dtype=torch.bool)
    valid[:, 128:] = False
    holed = replace(small_pair, valid=valid)
    half = replace(small_pair, truth=small_pair.truth[..., :128], valid=None)
    spoiled = torch.where(valid, noisy, torch.zeros(()))
    ours, cut = (
        evaluation.against_truth(spoiled, holed),
        evaluation.against_truth(noisy[..., :128], half),
    )
    assert ours == pytest.approx(cut, rel=1e-9)


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


def test_all_figures_of_a_pair_with_and_without_truth(small_pair):
    without = replace(small_pair, truth=None)
    at_full = evaluation.at_full_resolution(small_pair.truth, small_pair)
    assert evaluation.evaluate(small_pair.truth, without) == at_full
    both = at_full | evaluation.against_truth(small_pair.truth, small_pair)
    assert evaluation.evaluate(small_pair.truth, small_pair) == both
    with pytest.raises(ValueError, match="expected a pair with its truth, found none"):
        evaluation.against_truth(small_pair.truth, without)
