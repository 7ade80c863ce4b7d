import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import Affine, from_origin
from scipy import ndimage

from clippan_lite import classical, metrics
from clippan_lite.data import Pair, geotiff, reduced, registration, synthetic
from clippan_lite.data.registration import Shift, correct, estimate
from clippan_lite.experiments import Experiment, Run
from clippan_lite.large_scenes.fusing import fuse_scene
from clippan_lite.physics import sensors

# Best PAN sampling offset (down, right) from the area-aligned centre, in steps of 0.25 PAN pixel,
# found by others with another method. An offset o means that MS lies 0.5 - o off PAN by the
# benchmark convention.
PEERS = {
    "gf2_train_0": (-1.5, 0.0),
    "gf2_train_1": (-1.25, -0.25),
    "gf2_train_2": (-1.0, -0.5),
    "gf2_train_3": (-1.0, -0.5),
    "gf2_train_4": (-2.5, 1.0),
    "spacenet6_rotterdam_2": (-1.0, 1.25),
    "spacenet6_rotterdam_3": (-1.0, 0.0),
    "ikonos_town": (0.5, 0.5),
    "wv2_urban": (-0.25, 0.0),
}


def fourier_shift(image, down, right):
    """Content moved by fractions of a pixel, borders wrapped."""
    rows, cols = (np.fft.fftfreq(n)[:, None] for n in image.shape[-2:])
    phase = np.exp(-2j * np.pi * (rows * down + cols.T * right))
    return torch.from_numpy(np.fft.ifft2(np.fft.fft2(image.double().numpy()) * phase).real).float()


def moved(pair, down, right):
    """The pair with PAN's content moved, so that MS lies ``-down, -right`` off it."""
    return replace(pair, pan=fourier_shift(pair.pan, down, right))


@pytest.fixture(scope="module")
def town():
    return synthetic.make_scene(seed=1, size=512, sensor="IKONOS")


@pytest.mark.parametrize(
    ("sensor", "convention", "seed", "shift"),
    [
        ("WV2", "benchmark", 0, (0.25, -0.5)),
        ("WV2", "benchmark", 1, (4.4, -0.1)),
        ("WV2", "geo", 2, (-1.5, 2.7)),
        ("WV2", "geo", 3, (0.0, 0.0)),
        ("LANDSAT7", "benchmark", 4, (-1.5, 2.7)),
        ("LANDSAT7", "benchmark", 5, (0.0, 0.0)),
        ("LANDSAT7", "geo", 6, (0.25, -0.5)),
        ("LANDSAT7", "geo", 7, (4.4, -0.1)),
    ],
)
def test_known_fractions_are_found(sensor, convention, seed, shift):
    pair = moved(synthetic.make_scene(seed, 256, sensor, convention), *shift)
    found = estimate(pair)
    assert found.reliable and found.correlation > 0.95
    assert (found.down, found.right) == pytest.approx((-shift[0], -shift[1]), abs=0.05)


def test_signs_by_hand():
    """MS is sampled at rows 4 i + 2 of an image that PAN shows 3 rows higher and 1 column right."""
    rng = np.random.default_rng(0)
    ground = torch.from_numpy(
        rng.random((1, 320, 320)).cumsum(1) % 7 + rng.random((1, 320, 320)).cumsum(2) % 5
    ).float()
    ground = torch.nn.functional.avg_pool2d(ground, 9, 1, 4)[:, 32:-32, 32:-32] * 100
    sensor = sensors.get("VHR4")
    pair = Pair(
        ms=ground[:, 2::4, 2::4].repeat(4, 1, 1), pan=ground.roll((-3, 1), (1, 2)), sensor=sensor
    )
    found = estimate(pair)
    assert (found.down, found.right) == pytest.approx((3, -1), abs=0.05)
    assert str(found) == "3.00 down, 1.00 left"


@pytest.mark.parametrize(
    ("sensor", "made", "read", "half"),
    [("IKONOS", "geo", "benchmark", 0.5), ("LANDSAT8", "benchmark", "geo", -0.5)],
)
def test_the_other_convention_is_half_a_pixel_off(sensor, made, read, half):
    pair = replace(synthetic.make_scene(0, 256, sensor, made), convention=read)
    found = estimate(pair)
    assert (found.down, found.right) == pytest.approx((half, half), abs=0.05)
    assert f"; convention {made} fits" in registration.alignment(pair, found)


def test_bands_that_pan_does_not_see_do_not_matter():
    pair = moved(synthetic.make_scene(4, 256, "LANDSAT7"), -1.25, 0.5)
    found = estimate(replace(pair, ms=torch.cat([pair.ms[:3], pair.ms[3:].flip(2)])))
    assert (found.down, found.right) == pytest.approx((1.25, -0.5), abs=0.1)


def test_nodata_does_not_matter(town):
    pair = moved(town, 2.0, -1.5)
    valid = torch.ones(512, 512, dtype=torch.bool)
    valid[:200, :] = valid[:, 400:] = valid[300:310, 100:140] = False
    holes = replace(pair, pan=pair.pan * valid, ms=pair.ms * valid[::4, ::4], valid=valid)
    found = estimate(holes)
    assert (found.down, found.right) == pytest.approx((-2.0, 1.5), abs=0.05)


def test_large_images_are_judged_by_windows(town, monkeypatch):
    monkeypatch.setattr(registration, "SIDE", 40)  # 128 MS pixels are now large
    sizes = []
    window = registration._Gradients
    monkeypatch.setattr(
        registration,
        "_Gradients",
        lambda pair, reach: sizes.append(pair.ms.shape[1:]) or window(pair, reach),
    )
    found = estimate(moved(town, -2.5, 0.75))
    assert (found.down, found.right) == pytest.approx((2.5, -0.75), abs=0.05)
    assert sizes == [(40, 40)] * (9 + 4)  # and the four corners


@pytest.mark.slow
def test_more_than_a_shift_is_told(town):
    pan = town.pan.clone()  # two quarters of four are moved, which no warp explains
    pan[:, 256:, :256] = pan[:, 256:, :256].roll(3, 1)
    pan[:, :256, 256:] = pan[:, :256, 256:].roll(3, 1)
    pair = replace(town, pan=pan)
    found = estimate(pair)
    assert found.spread == pytest.approx(3, abs=0.1) and estimate(town).spread < 0.1
    assert (
        "parts of the image differ by 3.0: no shift or affine warp mends that"
        in registration.alignment(pair, found)
    )


def warped(pair, slopes, move):
    """PAN warped about its middle, so that MS lies ``move + slopes @ place`` off it."""
    forth = np.eye(2) + np.array(slopes)
    middle = (np.array(pair.pan.shape[1:]) - 1) / 2
    start = middle + np.array(move) - forth @ middle
    pan = ndimage.affine_transform(pair.pan[0].double().numpy(), forth, start, order=5)
    return replace(pair, pan=torch.from_numpy(pan)[None].float().clamp(0, pair.peak))


WARPS = {
    "turned": ([[0.0, -0.005], [0.005, 0.0]], (0.0, 0.0)),
    "stretched": ([[0.01, 0.0], [0.0, 0.01]], (-1.0, 1.0)),
    "any": ([[0.004, 0.001], [-0.002, 0.003]], (0.7, -0.4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WARPS)
def test_an_affine_warp_is_found_and_taken_back(town, name):
    slopes, move = WARPS[name]
    pair = warped(town, slopes, move)
    found = estimate(pair)
    for place in ((0, 0), (0, 511), (511, 0), (511, 511), (255.5, 255.5)):
        away = np.array(place) - 255.5
        expected = np.array(move) + np.array(slopes) @ away
        got = np.array([found.down, found.right]) + np.reshape(found.slopes, (2, 2)) @ (
            np.array(place) - found.middle
        )
        assert np.abs(got - expected).max() < 0.1, place
    assert ": it is turned or stretched; register" in registration.alignment(pair, found)
    back = correct(pair, found)
    left = estimate(back)
    assert max(abs(left.down), abs(left.right), left.spread) < 0.1 and not any(left.slopes)
    inner = (slice(None), slice(16, -16), slice(16, -16))
    seen = back.valid_pixels[inner[1:]]
    error, before = ((image.pan - town.pan)[inner][:, seen] for image in (back, pair))
    assert error.square().mean() < 0.02 * before.square().mean()


def test_what_a_warp_brings_from_outside_is_nodata(town):
    back = correct(town, Shift(0.0, 0.0, 1.0, slopes=(0.02, 0, 0, 0.02), middle=(255.5, 255.5)))
    assert back.valid is None  # enlarged about the middle: all of it comes from inside
    smaller = Shift(0.0, 0.0, 1.0, slopes=(-0.02, 0, 0, -0.02), middle=(255.5, 255.5))
    valid = correct(town, smaller).valid
    assert not valid[:4].any() and not valid[:, -4:].any() and valid[7:-7, 7:-7].all()


def test_holes_are_warped_too(town):
    valid = torch.ones(512, 512, dtype=torch.bool)
    valid[100:140, 300:340] = False
    hollow = replace(town, pan=town.pan * valid, valid=valid)
    warp = Shift(2.0, -1.0, 1.0, slopes=(0.0, 0.01, 0.0, 0.0), middle=(255.5, 255.5))
    back = correct(hollow, warp)
    assert not back.valid[104:141, 300:338].any() and (back.pan[:, ~back.valid] >= 0).all()
    far = torch.ones_like(valid)
    far[90:150, 290:350] = False
    far[:6] = far[:, -6:] = far[-6:] = far[:, :6] = False
    assert back.valid[far].all()
    whole = correct(town, warp)
    far &= whole.valid_pixels
    assert torch.allclose(back.pan[:, far], whole.pan[:, far], atol=1.0)  # holes do not ring


@pytest.mark.slow
@pytest.mark.parametrize("window", [256])
def test_a_scene_in_windows_is_warped_as_in_one_piece(town, tmp_path, window):
    pair = warped(town, *WARPS["any"])
    folder = geotiff.write_pair(tmp_path / "pair", pair)
    files = folder / "pan.tif", folder / "ms.tif"
    out = fuse_scene(
        *files, tmp_path / "f.tif", "IKONOS", method="GSA", register=True, window=window,
        dtype="float32", progress=False,
    )  # fmt: skip
    with rasterio.open(out) as file:
        assert file.tags()["REGISTRATION"].startswith("PAN warped 0.70 down, 0.40 left")
        parts = torch.from_numpy(file.read())
    whole = classical.fuse("GSA", geotiff.read_pair(*files, "IKONOS", register=True))
    inner = (slice(None), slice(40, -40), slice(40, -40))
    assert (parts - whole)[inner].abs().max() < 1
    truth = (town.truth - classical.fuse("GSA", town))[inner].square().mean()
    assert (parts - town.truth)[inner].square().mean() < 1.2 * truth


@pytest.mark.slow
def test_parts_of_a_large_scene_tell_its_warp(town):
    """Parts of one image, each shifted by whole pixels as a warp of the scene would do it there."""
    size, shifts = (6000, 9000), {}
    pairs = {}
    for row in (0, 2744, 5488):
        for column in (0, 4244, 8488):
            down, right = round(column / 4244), -round(row / 2744)
            pairs[row, column] = moved(town, -down, -right)
            shifts[row, column] = down, right
    found = registration.of_scene(pairs, size)
    for (row, column), expected in shifts.items():
        place = np.array([row + 255.5, column + 255.5]) - found.middle
        got = np.array([found.down, found.right]) + np.reshape(found.slopes, (2, 2)) @ place
        assert got == pytest.approx(expected, abs=0.05)
    same = registration.of_scene(dict.fromkeys(pairs, town), size)
    assert not any(same.slopes) and same.spread < 0.1


def test_one_wild_part_does_not_count():
    places = [(y, x) for y in (0.0, 500.0, 1000.0) for x in (0.0, 500.0, 1000.0)]
    found = [((y, x), Shift(0.002 * y, -0.001 * x, 0.9)) for y, x in places]
    found[4] = (found[4][0], Shift(5.0, 5.0, 0.9))
    warp = registration.fit(found, (1001, 1001))
    assert np.allclose(warp.slopes, (0.002, 0, 0, -0.001), atol=1e-4)
    wild = [
        (place, Shift(float(i % 3), float(i * 7 % 5), 0.9)) for i, (place, _) in enumerate(found)
    ]
    assert registration.fit(wild, (1001, 1001)) is None
    assert registration.fit(found[:5], (1001, 1001)) is None


def noise(seed, size, sensor="WV2"):
    rng = np.random.default_rng(seed)
    sensor = sensors.get(sensor)
    ms, pan = (
        rng.random((len(sensor.bands), size, size)),
        rng.random((1, size * sensor.ratio, size * sensor.ratio)),
    )
    return Pair(
        ms=torch.from_numpy(ms * 1000).float(),
        pan=torch.from_numpy(pan * 1000).float(),
        sensor=sensor,
    )


HOPELESS = {
    "flat PAN": lambda pair: replace(pair, pan=torch.full_like(pair.pan, 300.0)),
    "flat MS": lambda pair: replace(pair, ms=torch.full_like(pair.ms, 300.0)),
    "noise": lambda pair: noise(0, 64),
    "another place": lambda pair: replace(pair, ms=pair.ms.flip(2)),
    "tiny": lambda pair: replace(pair, ms=pair.ms[:, :12, :12], pan=pair.pan[:, :48, :48]),
    "one pixel": lambda pair: replace(pair, ms=pair.ms[:, :1, :1], pan=pair.pan[:, :4, :4]),
    "nodata": lambda pair: replace(pair, valid=torch.zeros(512, 512, dtype=torch.bool)),
    "further than searched": lambda pair: replace(pair, pan=pair.pan.roll(12, 1)),
}


@pytest.mark.parametrize("case", HOPELESS)
def test_what_cannot_be_told_is_said_to_be_unreliable(town, case):
    pair = HOPELESS[case](town)
    found = estimate(pair)
    assert (
        not found.reliable and (found.down, found.right) == (0, 0) and 0 <= found.correlation <= 1
    )
    told = registration.alignment(pair, found)
    assert "do not tell" in told or "hardly agree" in told
    with pytest.raises(ValueError, match=r"do not tell their shift.*leave register off") as error:
        correct(pair, found)
    assert "\n" not in str(error.value)


def test_noise_stays_below_the_threshold():
    worst = max(estimate(noise(seed, 20)).correlation for seed in range(20))
    assert 0 < worst < registration.LEAST_CORRELATION - 0.05


def test_search_is_at_least_one_pixel(town):
    with pytest.raises(ValueError, match="search: expected 1 PAN pixel or more, found 0"):
        estimate(town, search=0)


@pytest.mark.parametrize("convention", ["benchmark", "geo"])
@pytest.mark.parametrize("shift", [(1.5, -0.3), (-0.75, 4.0)])
def test_nothing_is_left_after_correction(convention, shift):
    pair = moved(synthetic.make_scene(2, 256, "WV2", convention), *shift)
    mended = correct(pair, estimate(pair))
    left = estimate(mended)
    assert left.reliable and abs(left.down) < 0.1 and abs(left.right) < 0.1
    assert mended.name == "synthetic_wv2_2_registered" and torch.equal(mended.ms, pair.ms)
    assert torch.equal(mended.truth, pair.truth)
    assert mended.pan_shift == pytest.approx((-shift[0], -shift[1]), abs=0.05)


def test_whole_pixels_are_lossless(town):
    mended = correct(town, Shift(3.0, -2.0, 1.0))
    assert torch.equal(mended.pan[:, 3:, :-2], town.pan[:, :-3, 2:])
    expected = torch.zeros(512, 512, dtype=torch.bool)
    expected[3:, :-2] = True
    assert torch.equal(mended.valid, expected) and town.valid is None
    assert torch.equal(mended.pan[0, 0, :-2], town.pan[0, 0, 2:])  # the edge is repeated


@pytest.mark.parametrize("cycles", [0.05, 0.25, 0.45])
def test_fractions_keep_the_image_sharp(town, cycles):
    """Waves up to 0.9 of PAN's Nyquist frequency arrive where they belong, to 1 %."""

    def wave(down, right):
        y, x = np.mgrid[:512, :512]
        return 900 + 800 * np.sin(2 * np.pi * cycles * (y - down)) * np.cos(
            2 * np.pi * cycles * (x - right)
        )

    mended = correct(
        replace(town, pan=torch.from_numpy(wave(0, 0))[None].float()), Shift(0.5, -1.35, 1.0)
    )
    inside = (slice(24, -24), slice(24, -24))
    assert (
        np.abs(mended.pan[0].numpy() - wave(0.5, -1.35))[inside].max() < 0.02 * 800
    )  # 1 % per axis
    expected = torch.zeros(512, 512, dtype=torch.bool)
    expected[1:, :-2] = True  # each value lies between two pixels, and both must be there
    assert torch.equal(mended.valid, expected)


def test_fractions_that_cannot_be_told_from_zero_are_left_out(town):
    mended = correct(town, Shift(0.04, -0.04, 1.0))
    assert torch.equal(mended.pan, town.pan) and mended.valid is None and mended.pan_shift == (0, 0)


def test_holes_move_and_do_not_ring(town):
    valid = torch.ones(512, 512, dtype=torch.bool)
    valid[100:120, 200:240] = False
    mended = correct(replace(town, pan=town.pan * valid, valid=valid), Shift(1.5, 0.0, 1.0))
    whole = correct(town, Shift(1.5, 0.0, 1.0))
    expected = whole.valid.clone()
    expected[100:122, 200:240] = False  # MS's hole stays, PAN's comes to rows 101.5 to 121.5
    assert torch.equal(mended.valid, expected) and (mended.pan[0, 100:122, 200:240] == 0).all()
    near = (mended.pan - whole.pan)[0][mended.valid]
    dark = (correct(replace(town, pan=town.pan * valid), Shift(1.5, 0.0, 1.0)).pan - whole.pan)[0][
        mended.valid
    ]
    assert near.abs().max() < dark.abs().max() / 2  # with the hole left dark


@pytest.mark.parametrize(("convention", "half"), [("geo", 0.0), ("benchmark", 0.25)])
def test_fused_images_lie_where_ms_says(town, convention, half):
    georef = {
        "transform": from_origin(100.0, 900.0, 0.5, 0.5),
        "ms_transform": from_origin(99.0, 902.0, 2.0, 2.0),
    }
    mended = correct(replace(town, convention=convention, georef=georef), Shift(2.0, 1.0, 1.0))
    # Centre of MS pixel 0: (100, 901). Between PAN pixels 1 and 2 by "geo", 2 by "benchmark".
    assert mended.georef["transform"] == Affine(0.5, 0, 99.0 - half, 0, -0.5, 902.0 + half)
    assert mended.georef["ms_transform"] == georef["ms_transform"]
    assert correct(replace(town, georef={}), Shift(2.0, 1.0, 1.0)).georef == {}


@pytest.fixture
def files(town, tmp_path):
    """PAN and MS of a pair whose MS lies 1.6 down and 0.8 left of PAN."""
    folder = geotiff.write_pair(tmp_path / "pair", moved(town, -1.6, 0.8))
    return folder / "pan.tif", folder / "ms.tif"


def test_reading_prints_the_shift_and_what_to_do(files, capsys):
    pair = geotiff.read_pair(*files, "IKONOS")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == (
        "Registration: MS lies 1.60 down, 0.80 left of PAN (PAN pixels; benchmark convention), "
        "multiple correlation 1.00; register (--register, register=True, in notebooks -p "
        "register true) shifts PAN onto MS"
    )
    assert pair.pan_shift == (0, 0) and pair.valid is None


def test_a_registered_pair_is_read_back_as_it_is(files, tmp_path, capsys):
    pair = geotiff.read_pair(*files, "IKONOS", name="town", register=True)
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "Registration: PAN shifted 1.60 down, 0.80 left onto MS"
    )
    assert pair.name == "town_registered" and pair.pan_shift == pytest.approx((1.6, -0.8), abs=0.03)
    folder = geotiff.write_pair(tmp_path / "scene", pair)
    assert json.loads((folder / "scene.json").read_text())["pan_shift"] == list(pair.pan_shift)
    again = geotiff.read_scene(folder)
    said = capsys.readouterr().out.splitlines()[-1]
    assert "after PAN was shifted 1.60 down, 0.80 left" in said and "register" not in said
    assert (
        again.pan_shift == pair.pan_shift
        and again.name == pair.name
        and torch.equal(again.valid, pair.valid)
    )
    assert (again.pan - pair.pan)[
        :, pair.valid
    ].abs().max() <= 0.5  # rounded to whole DN, and nothing else
    assert again.georef["transform"] == pair.georef["transform"]


def test_pairs_that_do_not_tell_are_not_registered(town, tmp_path):
    grain = torch.randn(town.ms.shape, generator=torch.Generator().manual_seed(0)) * town.ms.std()
    faint = (town.ms + grain).clamp(0, town.peak).round()
    for ms in (faint, town.ms.flip(2)):
        folder = geotiff.write_pair(tmp_path / "pair", replace(town, ms=ms))
        with pytest.raises(ValueError, match="do not tell their shift"):
            geotiff.read_pair(folder / "pan.tif", folder / "ms.tif", "IKONOS", register=True)


def test_runs_register_and_keep_products_apart(files, tmp_path):
    given = {"pan": str(files[0]), "ms": str(files[1]), "sensor": "IKONOS"}
    plain, registered = (
        Run(Experiment.of({**given, "register": register}), tmp_path) for register in (False, True)
    )
    registered.experiment.check()
    assert plain.pair.pan_shift == (0, 0)
    assert registered.pair.pan_shift == pytest.approx((1.6, -0.8), abs=0.03)
    assert plain.supervisor_path != registered.supervisor_path
    assert plain.network_path() != registered.network_path()


def test_the_synthetic_scene_needs_no_shift(tmp_path):
    for _ in range(2):  # made, then loaded
        pair = Run(Experiment(size=256, register=True), tmp_path).pair
        assert pair.name == "synthetic_wv2_0_registered" and pair.pan_shift == (0, 0)
        assert pair.valid is None
    assert torch.equal(pair.pan, Run(Experiment(size=256), tmp_path).pair.pan)


@pytest.mark.real
@pytest.mark.parametrize("name", PEERS)
@pytest.mark.slow
def test_real_pairs_agree_with_others(real_data, name):
    if not (real_data / name).is_dir():
        pytest.skip(f"{real_data} holds no {name}")
    pair = geotiff.read_scene(real_data / name)
    found = estimate(pair)
    assert found.reliable and found.correlation > 0.85 and found.spread < 1
    assert (found.down, found.right) == pytest.approx(
        [0.5 - offset for offset in PEERS[name]], abs=0.25
    )
    left = estimate(correct(pair, found))
    assert abs(left.down) < 0.1 and abs(left.right) < 0.1


@pytest.mark.slow
@pytest.mark.real
def test_a_real_pair_that_is_more_than_shifted(real_data):
    folder = real_data / "vhr_housing"
    if not folder.is_dir():
        pytest.skip(f"{real_data} holds no vhr_housing")
    files = folder / "pan.tif", folder / "ms.tif"
    as_is = geotiff.read_pair(*files, "VHR4")
    found = estimate(as_is)
    assert found.spread > 3  # its MS is 1 % smaller than PAN, top to bottom
    back = geotiff.read_pair(*files, "VHR4", register=True)
    left = estimate(back)
    assert max(abs(left.down), abs(left.right)) < 0.2 and left.spread < 1
    ergas = [error_of(pair) for pair in (as_is, back)]
    assert ergas[1] < 0.9 * ergas[0]


def error_of(pair):
    """ERGAS of GSA one scale down, where both images of the pair are valid."""
    low = reduced(pair)
    fused = classical.fuse("GSA", low)
    return metrics.reduced(fused, low.truth, low.ratio, low.peak, low.mask)["ERGAS"]


def test_windows_of_a_shifted_image_agree(town):
    moved = registration.correct(town, registration.Shift(2.0, -1.5, 1.0))
    found = registration.in_windows(moved)
    assert len(found) == 25 and len({place for place, _ in found}) == 25
    for (row, column), shift in found:
        assert 0 < row < moved.pan.shape[1] and 0 < column < moved.pan.shape[2]
        assert (shift.down, shift.right) == pytest.approx((-2.0, 1.5), abs=0.15)


@pytest.mark.parametrize(("start", "fits"), [(0.0, "register "), (-0.5, "convention geo fits")])
def test_advice_counts_what_geo_reads_from_the_transforms(town, start, fits):
    """MS lies one pixel off. Geo takes half of it, and half a pixel more where MS begins so."""
    pan = Affine(2, 0, 0, 0, -2, 0)
    ms = pan @ Affine.translation(start, start) @ Affine.scale(4)
    pair = replace(town, georef={**town.georef, "transform": pan, "ms_transform": ms})
    said = registration.alignment(pair, registration.Shift(1.0, 1.0, 0.9))
    assert said.split("; ")[-1].startswith(fits)
