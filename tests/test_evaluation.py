from dataclasses import replace

import pytest
import torch

from clippan_lite.metrics import evaluation


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


def test_all_figures_of_a_pair_with_and_without_truth(small_pair):
    without = replace(small_pair, truth=None)
    at_full = evaluation.at_full_resolution(small_pair.truth, small_pair)
    assert evaluation.evaluate(small_pair.truth, without) == at_full
    both = at_full | evaluation.against_truth(small_pair.truth, small_pair)
    assert evaluation.evaluate(small_pair.truth, small_pair) == both
    with pytest.raises(ValueError, match="expected a pair with its truth, found none"):
        evaluation.against_truth(small_pair.truth, without)
