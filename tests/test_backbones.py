import dataclasses

import pytest
import torch

from clippan_lite import backbones, classical, fusion, training
from clippan_lite.backbones import costs, panmamba
from clippan_lite.config import TrainConfig, recipe
from clippan_lite.physics import degrade

FROM_EXP = [name for name in backbones.REGISTRY if not backbones.find(name).methods]


def awake(name, bands, **options):
    """A network away from its zero start, so that what it adds to EXP is seen."""
    torch.manual_seed(0)
    network = backbones.create(name, bands, **options)
    torch.nn.init.normal_(network.get_submodule(last_layer(network)).weight, std=0.02)
    return network


def last_layer(network):
    """Name of the convolution that starts at zero."""
    silent = [
        n
        for n, m in network.named_modules()
        if isinstance(m, torch.nn.Conv2d) and not m.weight.any()
    ]
    assert len(silent) == 1, silent
    return silent[0]


@pytest.mark.parametrize("name", FROM_EXP)
@pytest.mark.parametrize(("bands", "ratio"), [(4, 4), (8, 4), (3, 2), (4, 8)])
@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_untrained_network_returns_exp_for_any_bands_and_ratio(name, bands, ratio, convention):
    network = backbones.create(name, bands, ratio, convention)
    ms, pan = torch.rand(2, bands, 24, 20), torch.rand(2, 1, 24 * ratio, 20 * ratio)
    fused = network(ms, pan)
    assert fused.shape == (2, bands, 24 * ratio, 20 * ratio)
    exp = degrade.upsample(ms, ratio, convention)
    inner = (
        ...,
        slice(8 * ratio, -8 * ratio),
        slice(8 * ratio, -8 * ratio),
    )  # borders differ: replicated, not circular
    torch.testing.assert_close(fused[inner], exp[inner], atol=1e-5, rtol=0)


def test_unknown_backbone_and_wrong_input_are_one_line():
    with pytest.raises(ValueError, match="expected one of fusionnet, pnn, pannet"):
        backbones.create("resnet", 4)
    with pytest.raises(ValueError, match="found MS"):
        backbones.create("pnn", 4)(torch.rand(1, 8, 16, 16), torch.rand(1, 1, 64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("name", backbones.REGISTRY)
def test_fusing_in_tiles_equals_fusing_whole(name, small_pair):
    network = awake(name, 8)
    whole, tiled = (
        fusion.fuse(small_pair, network, tile=4096),
        fusion.fuse(small_pair, network, tile=32),
    )
    assert (whole - fusion.fuse(small_pair, backbones.create(name, 8))).abs().max() > 5, (
        "the network adds nothing"
    )
    assert (whole - tiled).abs().max() < 0.5, "a seam of half a digital number or more"


@pytest.mark.slow
def test_a_pixel_does_not_draw_from_further_than_the_reach():
    """What `reach` promises, seen by the gradient of one output pixel."""
    for name in FROM_EXP:
        network = awake(name, 4)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
        exp, pan = torch.rand(1, 4, 224, 224), torch.rand(1, 1, 224, 224, requires_grad=True)
        out, furthest = network.residual(exp, pan)[0], 0
        for at in (96, 127):  # the first and the last pixel of a window and of a segment
            (gradient,) = torch.autograd.grad(out[:, at, at].sum(), pan, retain_graph=True)
            furthest = max(furthest, int((gradient[0, 0].nonzero() - at).abs().max()))
        assert 0.5 * network.reach <= furthest <= network.reach or network.reach == 32, (
            name,
            furthest,
        )


def test_bandwise_begins_with_the_mean_of_its_methods_back_projected(small_pair):
    network = backbones.create("bandwise", 8)
    bdsd, hpm, fs = classical.results(network.methods, small_pair).split(8)
    others = torch.stack([bdsd, fs, network.interpolate(small_pair.ms[None])[0]])
    least, most = others.amin(0), others.amax(0)  # HPM stays within two such ranges of the others
    hpm = torch.minimum(torch.maximum(hpm, 3 * least - 2 * most), 3 * most - 2 * least)
    mean = (bdsd + hpm + fs) / 3
    expected = classical.projected(mean, small_pair, rounds=2)
    torch.testing.assert_close(
        fusion.fuse(small_pair, network, along=0.0), expected, atol=0.05, rtol=0
    )


@pytest.mark.slow
def test_bandwise_is_calm_where_a_classical_result_is_far_off(small_pair):
    """MTF-GLP-HPM divides by the low frequencies of PAN; on dark water its result is anything."""
    network = backbones.create("bandwise", 8)
    results = classical.results(network.methods, small_pair)
    fused = []
    for far in (1e3, 1e6):
        wild = results.clone()
        wild[8:16, 128:132, 128:132] += far  # of MTF-GLP-HPM
        fused.append(fusion.fuse(small_pair, network, results=wild))
    torch.testing.assert_close(fused[0], fused[1])
    assert (fused[0] - fusion.fuse(small_pair, network)).abs().max() < 1000


def test_eightfold_fusing_does_not_depend_on_how_the_image_lies():
    network = awake("bandwise", 4, eightfold=True)
    seen = torch.rand(2, 8, 40, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mended = network._mend_in_turns(seen)
        for turned in (lambda x: torch.rot90(x, 1, (-2, -1)), lambda x: x.flip(-1)):
            torch.testing.assert_close(network._mend_in_turns(turned(seen)), turned(mended))
            assert not torch.allclose(network._mend(turned(seen)), turned(network._mend(seen)))


def test_bandwise_has_one_set_of_weights_for_any_bands_and_ratio(small_pair):
    four, eight = awake("bandwise", 4, ratio=2), backbones.create("bandwise", 8)
    eight.load_state_dict(four.state_dict())
    inputs = [image[None] for image in (small_pair.ms, small_pair.pan)]
    results = classical.results(eight.methods, small_pair)[None]
    fused = eight(*inputs, small_pair.sensor, results)
    assert fused.shape == small_pair.truth[None].shape
    order = [7, 3, 1, 0, 2, 4, 6, 5]  # bands may come in any order
    sensor = dataclasses.replace(
        small_pair.sensor, mtf_ms=tuple(small_pair.sensor.mtf_ms[band] for band in order)
    )
    mixed = results.unflatten(1, (3, 8))[:, :, order].flatten(1, 2)
    other = eight(inputs[0][:, order], inputs[1], sensor, mixed)
    torch.testing.assert_close(other, fused[:, order])


@pytest.mark.parametrize("name", backbones.REGISTRY)
def test_back_projection_as_last_layer_of_every_network(name, small_pair):
    plain = backbones.create(name, 8, rounds=0)
    layered = backbones.create(name, 8, rounds=3)
    layered.load_state_dict(plain.state_dict())
    before, after = (fusion.fuse(small_pair, network, along=0.0) for network in (plain, layered))
    expected = classical.projected(before, small_pair, rounds=3)
    torch.testing.assert_close(after, expected, atol=0.5, rtol=1e-3)
    assert (after - before).abs().mean() > 1


def test_training_goes_through_the_last_layer(small_pair):
    config = recipe("quick", options={"rounds": 2}, steps=1, direction=0.0, spec=0.0, spat=1.0)
    _, history = training.train(small_pair, config, progress=False)
    assert history[0]["grad spat"] > 0
    network = backbones.create("fusionnet", 8, rounds=2)
    ms, pan = small_pair.ms[None, :, :16, :16] / 1000, small_pair.pan[None, :, :64, :64] / 1000
    network(ms, pan, small_pair.sensor).square().mean().backward()
    assert network.tail.weight.grad.abs().max() > 0


def test_a_network_that_needs_more_than_ms_and_pan_says_so():
    ms, pan = torch.rand(1, 4, 16, 16), torch.rand(1, 1, 64, 64)
    for network in (backbones.create("pnn", 4, rounds=1), backbones.create("bandwise", 4)):
        with pytest.raises(ValueError, match="needs a sensor, and results of"):
            network(ms, pan)
    with pytest.raises(ValueError, match="rounds of back-projection: expected a whole number"):
        backbones.create("pnn", 4, rounds=-1)


def test_recurrence_takes_any_number_of_bands():
    four = backbones.create("arbrpn", 4)
    eight = backbones.create("arbrpn", 8)
    eight.load_state_dict(four.state_dict())
    assert four.reach < eight.reach


def test_scan_is_the_recurrence():
    torch.manual_seed(0)
    decay, drive = (
        2.5 * torch.rand(2, 3, 32, dtype=torch.float64),
        torch.randn(2, 3, 32, dtype=torch.float64),
    )
    state, expected = torch.zeros(2, 3, dtype=torch.float64), []
    for t in range(32):
        state = torch.exp(-decay[..., t]) * state + drive[..., t]
        expected.append(state)
    torch.testing.assert_close(panmamba.scan(decay, drive), torch.stack(expected, -1))
    torch.testing.assert_close(
        panmamba.scan(decay.float(), drive.float()),
        torch.stack(expected, -1).float(),
        atol=1e-4,
        rtol=1e-4,
    )


def test_cost_counts_parameters_and_products():
    network = backbones.create("pnn", 4, width=8)
    figures = costs.cost(network)
    assert figures["parameters"] == (9 * 9 * 5 * 8 + 8) + (5 * 5 * 8 * 4 + 4) + (5 * 5 * 4 * 4 + 4)
    products = (
        9 * 9 * 5 * 8 + 5 * 5 * 8 * 4 + 5 * 5 * 4 * 4
    )  # and a few for the interpolation of MS
    assert products <= figures["MAC per PAN pixel"] < 1.5 * products


def test_a_network_of_ones_own_is_known_by_its_name(small_pair):
    with pytest.raises(ValueError, match=r"expected a subclass of backbones\.Fusion"):
        backbones.register("tiny")(torch.nn.Conv2d)
    with pytest.raises(ValueError, match="'pnn' exists already"):

        @backbones.register("pnn")
        class Other(backbones.Fusion):
            pass

    def define():
        @backbones.register("tiny")
        class Tiny(backbones.Fusion):
            def __init__(self, bands, ratio, convention):
                super().__init__(bands, ratio, convention)
                self.tail = backbones.silence(backbones.conv(bands + 1, bands))

            def residual(self, exp, pan):
                return self.tail(torch.cat([exp, pan], 1))

    try:
        define()
        define()  # a notebook's cell run twice
        settings = {"backbone": "tiny", "steps": 3, "batch": 1, "patch": 64}
        config = TrainConfig().changed(**settings, direction=0.0, qnr=0.0)
        network, _ = training.train(small_pair, config, progress=False)
        assert fusion.fuse(small_pair, network).shape == (8, 256, 256)
    finally:
        backbones.REGISTRY.pop("tiny", None)
