"""Filters of small images as matrix products: the same results, in a training only."""

import threading

import pytest
import torch

from clippan_lite import losses
from clippan_lite.metrics import blocks
from clippan_lite.physics import degrade, matrices, resample
from clippan_lite.physics.imresize import imresize
from clippan_lite.physics.sensors import get

GAINS = get("WV2").mtf_ms
FILTERS = {
    "upsample": lambda x: resample.upsample(x, 4),
    "upsample, geo": lambda x: resample.upsample(x, 3, "geo"),
    "interpolate": lambda x: resample.interpolate(x, 4, "benchmark"),
    "interpolate, geo": lambda x: resample.interpolate(x, 2, "geo"),
    "degrade": lambda x: degrade.degrade(x, GAINS, 4),
    "degrade, geo": lambda x: degrade.degrade(x, GAINS, 4, "geo"),
    "degrade at a phase": lambda x: degrade.degrade(x, 0.3, 4, (-3, 9)),
    "mtf_filter": lambda x: degrade.mtf_filter(x, GAINS, 4),
    "imresize": lambda x: imresize(x, 0.25),
    "imresize, larger": lambda x: imresize(x, 1.7),
    "SSIM": lambda x: blocks.ssim_map(x, x.flip(-1).contiguous(), 1.0),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", [(8, 48, 40), (2, 8, 40, 48)])
def test_a_matrix_filters_as_the_filter_does(name, shape):
    x = torch.rand(shape if name != "SSIM" else (2, 8, *shape[-2:]), dtype=torch.float64)
    x.requires_grad_()
    own = FILTERS[name](x)
    weights = torch.rand_like(own)
    (own_gradient,) = torch.autograd.grad((own * weights).sum(), x)
    with matrices.small_images():
        assert matrices.serve(x)
        product = FILTERS[name](x)
    (gradient,) = torch.autograd.grad((product * weights).sum(), x)
    torch.testing.assert_close(product, own, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, own_gradient, rtol=0, atol=1e-11)


def test_matrices_are_used(monkeypatch):
    used, both_axes = [], matrices.both_axes
    monkeypatch.setattr(matrices, "both_axes", lambda *a: (used.append(a[1]), both_axes(*a))[1])
    for name, function in FILTERS.items():
        used.clear()
        with matrices.small_images():
            function(torch.rand(1, 8, 40, 48))
        assert used, name


def test_only_small_images_in_this_thread_and_only_inside():
    small, large = torch.rand(1, 4, 32, 32), torch.rand(1, 4, 32, matrices.LARGEST + 1)
    elsewhere = []
    with matrices.small_images():
        assert matrices.serve(small) and not matrices.serve(large)
        thread = threading.Thread(target=lambda: elsewhere.append(matrices.serve(small)))
        thread.start()
        thread.join()
    assert elsewhere == [False] and not matrices.serve(small)
    with matrices.small_images():
        with pytest.raises(ZeroDivisionError), matrices.small_images():
            1 / 0  # noqa: B018
        assert matrices.serve(small), "the inner one leaves the outer one on"
    assert not matrices.serve(small)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: resample.interpolate(x, 3, "benchmark"), "power of two"),
        (lambda x: resample.interpolate(x, 4, "foo"), "convention"),
        (lambda x: resample.interpolate(x[0, 0], 4, "geo"), "floating tensor"),
        (lambda x: resample.upsample(x, 4.0), "whole number"),
        (lambda x: degrade.degrade(x, 0.3, 4, (2, 2, 2)), "two of -20 to 20"),
        (lambda x: degrade.degrade(x, 0.3, 4, (1.5, 2)), "two of -20 to 20"),
        (lambda x: degrade.degrade(x, 0.3, 4, (0, 21)), "two of -20 to 20"),
        (lambda x: degrade.degrade(x[..., :-1], 0.3, 4), "multiples of 4"),
        (lambda x: imresize(x, 0.0), "above 0"),
    ],
)
def test_the_same_is_refused(call, message):
    for inside in (False, True):
        with pytest.raises(ValueError, match=message):
            if inside:
                with matrices.small_images():
                    call(torch.rand(1, 3, 16, 12))
            else:
                call(torch.rand(1, 3, 16, 12))


@pytest.mark.parametrize("side", [4, 8, 12])
def test_images_smaller_than_the_filter(side):
    x = torch.rand(2, 8, side, side, dtype=torch.float64)
    for name in ("interpolate", "interpolate, geo", "degrade", "degrade, geo", "mtf_filter"):
        own = FILTERS[name](x)
        with matrices.small_images():
            torch.testing.assert_close(FILTERS[name](x), own, rtol=0, atol=1e-12)


def test_a_matrix_first_made_in_inference_serves_training_too():
    x = torch.rand(1, 3, 44, 36, requires_grad=True)
    with matrices.small_images():
        with torch.inference_mode():
            resample.upsample(x.detach(), 4)
        resample.upsample(x, 4).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("contrast", [0.3, 1e-3, 0.0])
def test_the_loss_keeps_its_digits_in_single_precision(contrast):
    torch.manual_seed(0)
    target = 0.7 + contrast * torch.rand(2, 8, 64, 64)
    fused = (target + 0.1 * contrast * torch.rand_like(target)).double().requires_grad_()
    exact = losses.mse_ssim(fused, target.double())
    with matrices.small_images():  # as in a training
        single = losses.mse_ssim(fused.float(), target)
    assert exact.item() == pytest.approx(single.item(), abs=2e-6)
    of_exact, of_single = (torch.autograd.grad(loss, fused)[0] for loss in (exact, single))
    assert (of_exact - of_single).norm() <= 1e-3 * of_exact.norm() + 1e-7
