import numpy as np
import pytest
import torch

from clippan_lite.data import synthetic
from clippan_lite.physics import degrade, sensors


def test_scene_is_deterministic_and_complete():
    one, two, other = (
        synthetic.make_scene(5, 256, "WV2"),
        synthetic.make_scene(5, 256, "WV2"),
        synthetic.make_scene(6, 256, "WV2"),
    )
    assert (
        torch.equal(one.ms, two.ms)
        and torch.equal(one.pan, two.pan)
        and torch.equal(one.truth, two.truth)
    )
    assert not torch.equal(one.pan, other.pan)
    assert (
        one.ms.shape == (8, 64, 64)
        and one.pan.shape == (1, 256, 256)
        and one.truth.shape == (8, 256, 256)
    )
    assert one.ms.min() >= 0 and one.ms.max() <= 2047
    assert torch.equal(one.ms, one.ms.round())


@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_ms_is_the_degraded_truth_up_to_noise(convention):
    pair = synthetic.make_scene(2, 256, "IKONOS", convention, snr=120)
    low = degrade.degrade(pair.truth, pair.sensor.mtf_ms, 4, convention)
    error = (pair.ms - low).std() / pair.ms.mean()
    assert error == pytest.approx(1 / 120, rel=0.15)


def test_vegetation_is_bright_in_infrared_and_water_dark():
    sensor = sensors.get("QB")
    land = synthetic.make_landscape(0, 512)
    bands, _ = synthetic.observe(land, sensor)
    red, infrared = bands[2], bands[3]
    forest, water = (land.landuse == synthetic.LANDUSE.index(name) for name in ("forest", "water"))
    assert forest.sum() > 1000 and water.sum() > 1000
    assert np.median(infrared[forest] / red[forest]) > 3
    assert np.median(infrared[water] / red[water]) < 1


def test_pan_is_explained_by_the_bands_but_not_wholly():
    pair = synthetic.make_scene(4, 256, "WV2")
    columns = torch.cat([pair.truth.flatten(1), torch.ones(1, 256 * 256)]).double()
    pan = pair.pan.flatten().double()
    fit = torch.linalg.lstsq(columns.T, pan[:, None]).solution[:, 0] @ columns
    r2 = 1 - ((pan - fit) ** 2).sum() / ((pan - pan.mean()) ** 2).sum()
    assert 0.9 < r2 < 0.9999


@pytest.mark.parametrize("name", sensors.SENSORS)
def test_every_sensor_sees_the_scene(name):
    pair = synthetic.make_scene(1, 128, name)
    assert pair.bands == len(sensors.get(name).bands)
    assert all(band.std() > 0 for band in pair.ms)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="multiple of the ratio 4, found 130"):
        synthetic.make_scene(0, 130, "WV2")
    with pytest.raises(ValueError, match="at least 64"):
        synthetic.make_landscape(0, 32)


def test_haze_takes_contrast_and_adds_blue():
    clear, hazy = (synthetic.make_scene(3, 256, "WV2", haze=h) for h in (0.0, 0.5))
    blue, nir = clear.sensor.bands.index("B"), clear.sensor.bands.index("NIR1")
    for band in (blue, nir):
        assert hazy.truth[band].std() == pytest.approx(float(clear.truth[band].std()) / 2, rel=0.05)
    added = [float(hazy.truth[b].mean() - clear.truth[b].mean() / 2) for b in (blue, nir)]
    assert added[0] > 1.5 * added[1] > 0


@pytest.mark.slow
def test_a_shifted_scene_is_found_shifted_by_registration():
    from clippan_lite.data import registration

    for shift in ((1.5, -2.0), (-0.75, 0.5)):
        found = registration.estimate(synthetic.make_scene(3, 512, "WV2", shift=shift))
        assert (found.down, found.right) == pytest.approx(shift, abs=0.15)


def test_cars_are_elsewhere_in_ms_than_in_pan():
    still, busy = (synthetic.make_scene(3, 256, "WV2", cars=n, snr=1e6) for n in (0, 40))
    seen_pan = (busy.pan - still.pan).abs()[0] > 50
    seen_ms = (busy.truth - still.truth).abs().amax(0) > 50
    assert seen_pan.sum() > 200 and seen_ms.sum() > 200
    assert (seen_pan & ~seen_ms).sum() > 0.4 * seen_pan.sum()  # they have left their places
    # However far they drive, whatever leaves the map: PAN shows the same cars at the same places.
    assert torch.equal(
        busy.pan, synthetic.make_scene(3, 256, "WV2", cars=40, speed=60.0, snr=1e6).pan
    )
    parked = synthetic.make_scene(3, 256, "WV2", cars=40, speed=0.0, snr=1e6)
    near, far = (
        synthetic.make_scene(3, 256, "WV2", cars=n, speed=60.0, snr=1e6).truth for n in (39, 40)
    )
    assert (near != far).any(0).sum() < 200  # one car more changes one place
    same = (parked.truth - still.truth).abs().amax(0) > 50
    assert (seen_pan & ~same).sum() < 0.2 * seen_pan.sum()


def test_saturation_is_the_share_asked_for():
    pair = synthetic.make_scene(3, 256, "WV2", saturated=0.1)
    assert float((pair.pan == pair.peak).double().mean()) == pytest.approx(0.1, abs=0.02)
    assert pair.truth.max() <= pair.peak


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"haze": 1.0}, r"haze must be 0 to 0\.99, found 1\.0"),
        ({"saturated": -0.1}, "saturated must be 0 to"),
        ({"cars": -1}, "cars must be a whole number, 0 or more, found -1"),
        ({"cars": 5000}, "cars must be 0 to 4096"),
        ({"cars": 1, "speed": 1e9}, "speed must be 0 to 64"),
        ({"shift": (1,)}, r"expected a shift \(down, right\)"),
        ({"size": 64.0}, "size must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number, 0 or more, found 1.5"),
        ({"shift": (20, 0)}, r"shift \(down, right\) of at most 16 PAN pixels"),
        ({"snr": 0}, "snr above 0"),
    ],
)
def test_knobs_out_of_range_are_one_line(knob, message):
    with pytest.raises(ValueError, match=message):
        synthetic.make_scene(**{"seed": 0, "size": 64, **knob})
