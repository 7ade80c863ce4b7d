import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_origin

from clippan_lite.data import Pair, geotiff, grids
from clippan_lite.data.synthetic import make_scene
from clippan_lite.metrics import evaluation
from clippan_lite.physics import sensors

DATA = os.environ.get("CLIPPAN_TEST_DATA")
ORIGIN = (500000.0, 4000000.0)
H, W = 256, 320  # PAN's size; MS is a quarter of it


def write(path, image, crs="EPSG:32633", transform=None, **profile):
    if transform is not None:
        profile.update(crs=crs, transform=transform)
    count, height, width = image.shape
    profile = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": image.dtype.name,
        **profile,
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(image)
    return path


def grid(pixel, right=0.0, down=0.0):
    return from_origin(ORIGIN[0] + right, ORIGIN[1] - down, pixel, pixel)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    land = rng.integers(200, 1800, (1, H // 4, W // 4))
    pan = np.kron(land, np.ones((1, 4, 4), int)) + rng.integers(-199, 200, (1, H, W))
    return pan.astype("uint16"), (land + rng.integers(-199, 200, (4, H // 4, W // 4))).astype(
        "uint16"
    )


@pytest.fixture
def pair_files(tmp_path, images):
    """Paths of a good IKONOS pair, and a function that writes it anew with something changed."""

    def make(pan=None, ms=None, pan_profile=None, ms_profile=None):
        pan_profile = {"transform": grid(1.0), **(pan_profile or {})}
        ms_profile = {"transform": grid(4.0), **(ms_profile or {})}
        return (
            write(tmp_path / "pan.tif", images[0] if pan is None else pan, **pan_profile),
            write(tmp_path / "ms.tif", images[1] if ms is None else ms, **ms_profile),
        )

    return make


def refused(paths, match, sensor="IKONOS", error=ValueError):
    with pytest.raises(error, match=match) as caught:
        geotiff.read_pair(*paths, sensor)
    assert "\n" not in str(caught.value)


def test_reads_values_and_georeference(pair_files, images, capsys):
    pair = geotiff.read_pair(*pair_files(), "IKONOS")
    np.testing.assert_array_equal(pair.pan.numpy(), images[0].astype("float32"))
    np.testing.assert_array_equal(pair.ms.numpy(), images[1].astype("float32"))
    assert pair.valid is None and pair.dtype == "uint16" and pair.sensor is sensors.get("IKONOS")
    assert pair.georef["transform"] == grid(1.0) and pair.georef["crs"].to_epsg() == 32633
    out = capsys.readouterr().out
    unnamed, note, first, second = out.splitlines()
    assert "MS does not name its bands: they are taken as B, G, R, NIR" in unnamed
    assert "PAN of IKONOS sees hardly any light of B" in note
    assert "IKONOS" in first and "EPSG:32633" in first
    assert second.startswith("Registration: MS lies 0.50 down, 0.50 right of PAN")  # they are noise


def test_name_comes_from_the_folder_or_the_file(pair_files, tmp_path, images):
    paths = pair_files()
    assert geotiff.read_pair(*paths, "IKONOS").name == tmp_path.name
    other = write(tmp_path / "town_pan.tif", images[0], transform=grid(1.0))
    assert geotiff.read_pair(other, paths[1], "IKONOS").name == "town_pan"
    assert geotiff.read_pair(*paths, "IKONOS", name="given").name == "given"


@pytest.mark.parametrize("which", [0, 1])
def test_missing_file(pair_files, tmp_path, which):
    paths = list(pair_files())
    paths[which] = tmp_path / "nowhere.tif"
    refused(paths, "does not exist", error=FileNotFoundError)
    paths[which] = tmp_path
    refused(paths, "is a folder", error=FileNotFoundError)


def test_no_raster(pair_files, tmp_path):
    pan, ms = pair_files()
    text = tmp_path / "text.tif"
    text.write_text("this is no image")
    refused((text, ms), "PAN: .* is not a raster")
    text.write_bytes(b"")
    refused((pan, text), "MS: .* is not a raster")


@pytest.mark.parametrize("compress", [None, "deflate"])
def test_truncated_raster(pair_files, compress, capfd):
    profile = {"compress": compress} if compress else {}
    pan, ms = pair_files(pan_profile=profile)
    pan.write_bytes(pan.read_bytes()[: pan.stat().st_size // 2])
    refused((pan, ms), "PAN: .*(truncated|not a raster)")
    assert capfd.readouterr().err == ""


def test_band_counts(pair_files, images):
    pan, ms = pair_files()
    refused((ms, pan), "has 4 bands, expected 1.*swapped")
    refused((pan, ms), "has 4 bands, WV2 has 8 .*IKONOS", sensor="WV2")
    refused(pair_files(ms=images[1][:2]), "has 2 bands.*extract")


def test_size_ratio(pair_files, images):
    plain = {"pan_profile": {"transform": None}, "ms_profile": {"transform": None}}
    refused(pair_files(ms=images[1][:, ::2, ::2], **plain), "a ratio of 8 x 8, but IKONOS has 4")
    refused(pair_files(ms=images[1][:, :-1], **plain), "a ratio of 4.063 x 4, .*crop")
    swapped = "a ratio of 4 x 4, but LANDSAT8 has 2: choose .*IKONOS"
    refused(pair_files(ms=images[1][:3], **plain), swapped, sensor="LANDSAT8")
    three = np.repeat(np.repeat(images[1][:3], 2, 1), 2, 2)
    geotiff.read_pair(*pair_files(ms=three, ms_profile={"transform": grid(2.0)}), "LANDSAT8")


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (0.0, (0, 0, 0.0)),
        (-0.5, (0, 0, -0.5)),
        (5.0, (5, 0, 0.0)),
        (-1.0, (3, 1, 0.0)),
        (-4.5, (0, 1, -0.5)),
        (7.6, (8, 0, -0.4)),
        (-8.2, (0, 2, -0.2)),
        (-400.0, (0, 100, 0.0)),
    ],
)
def test_where_both_files_begin(first, expected):
    """PAN pixel, MS pixel and the rest: as near as the grids allow, never before either file."""
    assert grids._first_common(first, 4) == pytest.approx(expected)


def test_too_small(pair_files, images):
    small = images[0][:, :252, :252], images[1][:, :63, :63]
    refused(
        pair_files(*small), "^PAN and MS have 252 x 252 PAN pixels in common, expected at least 256"
    )


def test_grids(pair_files):
    refused(pair_files(ms_profile={"crs": "EPSG:32634"}), "PAN is in EPSG:32633, MS in EPSG:32634")
    refused(
        pair_files(pan_profile={"transform": Affine(1, 0.2, ORIGIN[0], 0.2, -1, ORIGIN[1])}),
        "PAN has a geotransform of no north-up grid",
    )
    refused(
        pair_files(ms_profile={"transform": grid(3.0)}),
        "MS pixels are 3 x 3 PAN pixels large, expected 4",
    )
    refused(
        pair_files(ms_profile={"transform": grid(4.0, down=5.0)}),
        "5.0 below PAN; PAN and MS have 248 x 320",
    )
    refused(
        pair_files(ms_profile={"transform": grid(4.0, down=400.0)}),
        "400.0 below PAN; PAN and MS have 0 x 320",
    )
    refused(
        pair_files(ms_profile={"transform": Affine(4, 0, 5, 0, 0, 5)}),
        "MS has a geotransform of no north-up grid",
    )


@pytest.mark.parametrize(("right", "down"), [(0.5, 0.5), (-0.3, 0.2)])
def test_geo_puts_ms_where_the_geotransforms_say(tmp_path, right, down, capsys):
    """PAN starts right of and below MS's corner: its content is moved there, and nothing else."""
    pair = make_scene(seed=1, size=512, sensor="IKONOS", convention="geo")
    frequencies = np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512), indexing="ij")
    phase = np.exp(2j * np.pi * (down * frequencies[0] + right * frequencies[1]))
    pan = (
        np.fft.ifft2(np.fft.fft2(pair.pan[0].numpy()) * phase)
        .real.round()
        .clip(0)
        .astype("uint16")[None]
    )
    files = (
        write(tmp_path / "pan.tif", pan, transform=grid(1.0, right=right, down=down)),
        write(tmp_path / "ms.tif", pair.ms.numpy().astype("uint16"), transform=grid(4.0)),
    )
    placed = geotiff.read_pair(*files, "IKONOS", convention="geo")
    assert placed.pan_shift == pytest.approx((down, right)) and placed.name == tmp_path.name
    assert placed.georef["transform"].almost_equals(grid(1.0))
    line = f"MS starts ({-right:.2f}, {-down:.2f}) PAN pixels (right, down) off PAN: "
    assert f"{line}PAN is shifted onto it." in capsys.readouterr().out
    as_is = geotiff.read_pair(*files, "IKONOS")
    assert torch.equal(as_is.pan, torch.from_numpy(pan.astype("float32"))) and as_is.pan_shift == (
        0.0,
        0.0,
    )
    inner = (..., slice(24, -24), slice(24, -24))  # the shift made here wraps around
    wrong, left = (
        (image - pair.pan)[inner].square().mean().sqrt() for image in (as_is.pan, placed.pan)
    )
    assert left < (
        0.15 * wrong if right % 1 else 0.4
    )  # the interpolator leaves PAN's finest detail behind


def test_half_a_pixel_offset_is_noted(pair_files, capsys):
    geotiff.read_pair(
        *pair_files(ms_profile={"transform": grid(4.0, right=-0.5, down=-0.5)}), "IKONOS"
    )
    assert "MS starts (-0.50, -0.50) PAN pixels" in capsys.readouterr().out


def test_georeference_in_none_or_both(pair_files, capsys):
    none = {"transform": None}
    pair = geotiff.read_pair(*pair_files(pan_profile=none, ms_profile=none), "IKONOS")
    assert (
        pair.georef["crs"] is None and "Neither file has a georeference" in capsys.readouterr().out
    )
    refused(pair_files(pan_profile=none), "only MS has a georeference")


def test_nodata_everywhere(pair_files, images):
    refused(
        pair_files(pan=np.zeros_like(images[0]), ms=np.zeros_like(images[1])), "no pixel in common"
    )
    full = np.full_like(images[0], 7)
    refused(pair_files(pan=full, pan_profile={"nodata": 7}), "no pixel in common")


def test_nan_outside_and_inside_nodata(pair_files, images):
    pan, ms = images[0].astype("float32"), images[1].astype("float32")
    pan[0, :8, :8] = np.nan
    plain = geotiff.read_pair(*pair_files(pan, ms), "IKONOS")
    assert int((~plain.valid).sum()) == 64 and torch.isfinite(plain.pan).all()
    pair = geotiff.read_pair(*pair_files(pan, ms, {"nodata": np.nan}, {"nodata": np.nan}), "IKONOS")
    assert int((~pair.valid).sum()) == 64 and torch.isfinite(pair.pan).all()
    ms[2, 0, 0] = np.inf
    refused(pair_files(images[0].astype("float32"), ms), "MS has 1 NaN or infinite pixels")


def test_bit_depth(pair_files, images):
    images[1][0, 3, 3] = 5000
    refused(pair_files(ms=images[1]), "MS has values from .* to 5000, IKONOS gives 0 to 2047")
    bytes_ = [(image // 8).astype("uint8") for image in images]
    refused(pair_files(pan=bytes_[0]), "PAN is uint8 and MS uint16")
    scaled = [image.astype("float32") / 5000 for image in images]
    refused(pair_files(*scaled), "values up to .* only")


def test_negative_complex_and_constant_values(pair_files, images):
    refused(pair_files(pan=images[0].astype("int16") - 999), "declare it .gdal_edit -a_nodata -9")
    refused(pair_files(pan=images[0].astype("complex64")), "holds complex64")
    refused(pair_files(ms=np.full_like(images[1], 5)), "MS holds one value only")


def test_eight_bit_files_are_used_with_eight_bits(pair_files, images, capsys):
    pair = geotiff.read_pair(
        *pair_files(*[(image // 8).astype("uint8") for image in images]), "GE1"
    )
    assert (
        pair.sensor.bits == 8
        and pair.peak == 255
        and "using it with 8 bits" in capsys.readouterr().out
    )


def test_bits_of_a_scene_json_beside_the_files_count(pair_files, images, capsys, tmp_path):
    paths = pair_files(*(image * 4 for image in images))  # reflectance times 10000, say
    refused(paths, r"if its numbers have more bits, describe the sensor with them")
    for text in ("{brok", '{"sensor": "WV3", "bits": 14}', '{"sensor": "IKONOS"}', "[]"):
        (tmp_path / "scene.json").write_text(text)
        refused(paths, "values from")
    (tmp_path / "scene.json").write_text('{"sensor": "IKONOS", "bits": 14}')
    pair = geotiff.read_pair(*paths, "IKONOS")
    assert (
        pair.sensor.bits == 14
        and "scene.json beside the files says 14 bit" in capsys.readouterr().out
    )


def test_fourth_8_bit_band_is_not_transparency(pair_files, images, tmp_path):
    small = [(image // 8 + 1).astype("uint8") for image in images]
    small[1][3, 10:20, 10:20] = 0
    pair = geotiff.read_pair(*pair_files(*small), "GE1")
    assert pair.valid is None and torch.equal(pair.ms, torch.from_numpy(small[1]).float())
    path = geotiff.write_fused(tmp_path / "fused.tif", torch.full((4, H, W), 9.0), pair)
    with rasterio.open(path) as source:
        assert ColorInterp.alpha not in source.colorinterp


def test_valid_mask(pair_files, images):
    pan, ms = images[0].copy(), images[1].copy()
    pan[0, :40, :40] = 0
    ms[:, :5, :5] = 0  # PAN 0 to 20: both zero, so nodata; beyond that PAN is dark and MS is not
    pair = geotiff.read_pair(*pair_files(pan, ms), "IKONOS")
    expected = np.ones((H, W), bool)
    expected[:20, :20] = False
    np.testing.assert_array_equal(pair.valid.numpy(), expected)
    pan[0, 100, 100], ms[:, 60, 60] = 2047, 2047
    pair = geotiff.read_pair(*pair_files(pan, ms, {"nodata": 2047}, {"nodata": 2047}), "IKONOS")
    assert not pair.valid[100, 100] and not pair.valid[240:244, 240:244].any()
    assert pair.pan[0, 100, 100] == 0 and (pair.ms[:, 60, 60] == 0).all()


def test_unknown_sensor_and_convention(pair_files):
    paths = pair_files()
    refused(paths, "unknown sensor", sensor="KODAK")
    with pytest.raises(
        ValueError, match="convention: expected 'benchmark' or 'geo', found 'other'"
    ):
        geotiff.read_pair(*paths, "IKONOS", convention="other")


def test_fused_has_pans_grid_and_mss_bands(pair_files, tmp_path):
    pair = geotiff.read_pair(*pair_files(ms_profile={"nodata": 0}), "IKONOS")
    fused = torch.full((4, H, W), 100.4)
    fused[0, 0, :3] = torch.tensor([-5.0, 1e9, 0.0])
    pair.valid = torch.ones(H, W, dtype=torch.bool)
    pair.valid[5, 5] = False
    path = geotiff.write_fused(tmp_path / "sub" / "fused.tif", fused, pair, {"METHOD": "test"})
    with rasterio.open(path) as source:
        assert (
            source.shape == (H, W)
            and source.transform == grid(1.0)
            and source.crs.to_epsg() == 32633
        )
        assert (
            source.dtypes == ("uint16",) * 4
            and source.descriptions == pair.sensor.bands
            and source.nodata == 0
        )
        assert (
            source.tags()["METHOD"] == "test"
            and source.profile["compress"] == "deflate"
            and source.profile["tiled"]
        )
        values = source.read()
    assert (values[:, 5, 5] == 0).all()
    # -5 and 0 are clipped to 0 but must not become holes, so they are 1
    assert values[0, 0].tolist()[:4] == [1, 65535, 1, 100]
    assert (values[:, 0, 5:] == 100).all()
    assert [p.name for p in path.parent.iterdir()] == ["fused.tif"]


def test_fused_without_georeference_and_as_float(tmp_path, recwarn):
    sensor = sensors.get("IKONOS")
    pair = Pair(ms=torch.ones(4, 64, 64), pan=torch.ones(1, H, H), sensor=sensor, dtype="float32")
    geotiff.write_fused(tmp_path / "f.tif", torch.full((4, H, H), 1.25), pair)
    assert not recwarn.list
    with rasterio.open(tmp_path / "f.tif") as source:
        assert (source.read() == 1.25).all() and source.crs is None and source.nodata is None


def test_wrong_fused_images_are_refused(pair_files, tmp_path):
    pair = geotiff.read_pair(*pair_files(), "IKONOS")
    with pytest.raises(ValueError, match=r"fused image is \(3, .*expected"):
        geotiff.write_fused(tmp_path / "f.tif", torch.zeros(3, H, W), pair)
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        fused = torch.zeros(4, H, W)
        fused[0, 0, 0] = torch.nan
        geotiff.write_fused(tmp_path / "f.tif", fused, pair)
    assert not (tmp_path / "f.tif").exists()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_nothing_half_written_stays(pair_files, tmp_path, monkeypatch, error):
    pair = geotiff.read_pair(*pair_files(), "IKONOS")
    out = tmp_path / "out"
    geotiff.write_fused(out / "fused.tif", torch.full((4, H, W), 3.0), pair)
    before = (out / "fused.tif").read_bytes()

    def fail(*_):
        raise error

    monkeypatch.setattr(geotiff, "_as_dtype", fail)
    with pytest.raises(error):
        geotiff.write_fused(out / "fused.tif", torch.full((4, H, W), 4.0), pair)
    assert [p.name for p in out.iterdir()] == ["fused.tif"] and (
        out / "fused.tif"
    ).read_bytes() == before
    with pytest.raises(error):
        geotiff.write_pair(tmp_path / "scene", pair)
    assert list((tmp_path / "scene").iterdir()) == []


def test_scene_roundtrip(pair_files, tmp_path, images):
    pair = geotiff.read_pair(*pair_files(), "IKONOS", name="town", convention="geo")
    pair.truth = torch.from_numpy(
        np.random.default_rng(1).integers(0, 2048, (4, H, W)).astype("float32")
    )
    folder = geotiff.write_pair(tmp_path / "scene", pair, source="drawn", licence="MIT")
    facts = json.loads((folder / "scene.json").read_text())
    assert facts["sensor"] == "IKONOS" and facts["ratio"] == 4 and facts["source"] == "drawn"
    assert facts["licence"] == "MIT" and facts["convention"] == "geo" and facts["bits"] == 11
    again = geotiff.read_scene(folder)
    for name in ("pan", "ms", "truth"):
        assert torch.equal(getattr(again, name), getattr(pair, name))
    assert (
        again.name == "town"
        and again.convention == "geo"
        and again.georef == pair.georef
        and again.valid is None
    )


def test_scene_keeps_holes_offset_and_bits(pair_files, tmp_path, images):
    small = [(image // 8).astype("uint8") for image in images]
    small[0][0, :16, :16] = 0
    small[1][:, :4, :4] = 0
    pair = geotiff.read_pair(
        *pair_files(*small, ms_profile={"transform": grid(4.0, right=-0.5)}), "GE1"
    )
    again = geotiff.read_scene(geotiff.write_pair(tmp_path / "scene", pair))
    assert torch.equal(again.valid, pair.valid) and again.sensor.bits == 8
    assert again.georef["ms_transform"] == grid(4.0, right=-0.5)


def test_scene_keeps_an_own_sensor(pair_files, tmp_path, images):
    own = tmp_path / "own.toml"
    own.write_text(
        sensors.to_toml(sensors.get("IKONOS")).replace("[IKONOS]", "[MINE]").replace("0.26", "0.21")
    )
    pair = geotiff.read_pair(*pair_files(), str(own))
    folder = geotiff.write_pair(tmp_path / "scene", pair)
    own.unlink()
    again = geotiff.read_scene(folder)
    assert (
        again.sensor == pair.sensor
        and again.sensor.name == "MINE"
        and again.sensor.mtf_ms[0] == 0.21
    )
    changed = Pair(
        ms=pair.ms, pan=pair.pan, sensor=dataclasses.replace(sensors.get("IKONOS"), mtf_pan=0.3)
    )
    assert geotiff.read_scene(geotiff.write_pair(folder, changed)).sensor == changed.sensor
    assert "sensor_definition" not in json.loads(
        (
            geotiff.write_pair(folder, dataclasses.replace(pair, sensor=sensors.get("IKONOS")))
            / "scene.json"
        ).read_text()
    )
    facts = {"sensor": "MINE", "sensor_definition": {"ratio": 4}}
    (folder / "scene.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"scene\.json: \[MINE\] lacks bands"):
        geotiff.read_scene(folder)


def test_unusable_scenes(pair_files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"scene\.json does not exist"):
        geotiff.read_scene(tmp_path)
    folder = geotiff.write_pair(tmp_path / "scene", geotiff.read_pair(*pair_files(), "IKONOS"))
    for text in ("{", "{}", "[]"):
        (folder / "scene.json").write_text(text)
        with pytest.raises(ValueError, match=r"expected (JSON|sensor|a table)"):
            geotiff.read_scene(folder)


def test_smallest_size_leaves_a_clip_crop_after_walds_protocol():
    assert grids.SMALLEST_CROP == 64


@pytest.mark.real
@pytest.mark.skipif(not DATA, reason="CLIPPAN_TEST_DATA is not set")
@pytest.mark.slow
def test_real_scenes_are_read(tmp_path):
    names = {"WV2": "WV2", "IKONOS": "IKONOS", "LANDSAT8": "LANDSAT8"}
    seen = set()
    for path in sorted(Path(DATA).glob("*/scene.json")):
        facts = json.loads(path.read_text())
        if facts["sensor"] not in names or facts["bands"] != len(
            sensors.get(facts["sensor"]).bands
        ):
            continue
        pair = geotiff.read_scene(path.parent)
        again = geotiff.read_scene(geotiff.write_pair(tmp_path / path.parent.name, pair))
        assert torch.equal(again.pan, pair.pan) and torch.equal(again.ms, pair.ms)
        seen.add(facts["sensor"])
    assert seen == set(names)


def test_a_dark_stripe_is_told(tmp_path, capsys):
    pair = make_scene(seed=1, size=512, sensor="IKONOS")
    for what in ("pan", "ms"):
        images = {"pan": pair.pan.numpy().astype("uint16"), "ms": pair.ms.numpy().astype("uint16")}
        images[what][:, 40:60] = 0
        files = [
            write(tmp_path / f"{n}.tif", i, transform=grid(1.0 if n == "pan" else 4.0))
            for n, i in images.items()
        ]
        geotiff.read_pair(*files, "IKONOS")
        told = capsys.readouterr().out
        assert f"Note: {what.upper()} is 0 at {20 * images[what].shape[2]} pixels where" in told


def test_a_pair_of_two_places_is_told(tmp_path, capsys):
    one, other = (make_scene(seed=seed, size=256, sensor="IKONOS") for seed in (1, 2))
    folder = geotiff.write_pair(
        tmp_path / "mixed", dataclasses.replace(one, ms=other.ms, truth=None)
    )
    geotiff.read_pair(folder / "pan.tif", folder / "ms.tif", "IKONOS")
    assert "DO THEY SHOW ONE PLACE?" in capsys.readouterr().out
    geotiff.read_scene(folder)
    assert "DO THEY SHOW ONE PLACE?" in capsys.readouterr().out


def test_arguments_of_another_type_are_one_line(small_pair, tmp_path):
    image = small_pair.truth
    with pytest.raises(ValueError, match=r"expected the fused image of type Tensor.*from_numpy"):
        geotiff.write_fused(tmp_path / "f.tif", image.numpy(), small_pair)
    with pytest.raises(ValueError, match=r"expected the pair of type Pair, found .*Path"):
        geotiff.write_pair(small_pair, tmp_path / "scene")
    with pytest.raises(ValueError, match=r"expected the fused image.*evaluate\(fused, pair\)"):
        evaluation.evaluate(small_pair, image)
    assert not list(tmp_path.iterdir())


def test_values_that_the_type_does_not_hold_are_told(small_pair, tmp_path, capsys):
    image = small_pair.truth.clone()
    image[0, 0, :3] = torch.tensor([-0.4, -5.0, 70000.0])
    geotiff.write_fused(tmp_path / "f.tif", image, small_pair)
    assert "Note: 2 values lie outside of what uint16 holds, 0 to 65535" in capsys.readouterr().out


def test_a_result_is_not_written_over_its_inputs_or_in_another_unit(small_pair, tmp_path):
    folder = geotiff.write_pair(tmp_path / "scene", small_pair)
    pair = geotiff.read_scene(folder)
    for name in ("pan.tif", "ms.tif"):
        before = (folder / name).read_bytes()
        with pytest.raises(ValueError, match="is one of the files to be fused, or behind one"):
            geotiff.write_fused(folder / name, pair.truth, pair)
        assert (folder / name).read_bytes() == before
    with pytest.raises(ValueError, match=r"must end in \.tif"):
        geotiff.write_fused(tmp_path / "f.png", pair.truth, pair)
    with pytest.raises(ValueError, match="found values of up to 1, which uint16 would round to"):
        geotiff.write_fused(tmp_path / "f.tif", pair.truth / pair.truth.max(), pair)
    with pytest.raises(ValueError, match="register must be true or false, found 'no'"):
        geotiff.read_pair(folder / "pan.tif", folder / "ms.tif", "WV2", register="no")
