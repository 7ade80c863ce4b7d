"""What files say of their bands and places is read, told, and carried into the product."""

import numpy as np
import pytest
import rasterio
import torch
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from clippan_lite import classical
from clippan_lite.data import Pair, declared, geotiff, grids, places
from clippan_lite.large_scenes import fusing
from clippan_lite.physics import sensors

SIDE = 256  # PAN pixels
PAN_GRID = Affine(0.5, 0, 500000, 0, -0.5, 4000000)
UTM = "EPSG:32631"


def save(path, image, transform=PAN_GRID, crs=UTM, names=None, colours=None, tags=None, **more):
    count, height, width = image.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, **more}
    if transform is not None:
        profile |= {"transform": transform, "crs": crs}
    with rasterio.open(path, "w", dtype=image.dtype, **profile) as file:
        if names:
            file.descriptions = names
        if colours:
            file.colorinterp = colours
        for band, values in enumerate(tags or [], 1):
            file.update_tags(band, **values)
        file.write(image)
    return path


@pytest.fixture(scope="module")
def images():
    """PAN, and MS whose band i has a mean of 300 (i + 1)."""
    rng = np.random.default_rng(5)
    land = rng.integers(-90, 90, (SIDE // 4, SIDE // 4))
    ms = np.stack([300 * i + land for i in (1, 2, 3, 4)])
    pan = 700 + np.kron(land, np.ones((4, 4), int)) + rng.integers(-9, 9, (SIDE, SIDE))
    return pan[None].astype("uint16"), ms.astype("uint16")


@pytest.fixture
def files(tmp_path, images):
    """Writes a GeoEye-1 pair with something changed."""

    def make(pan=None, ms=None, **of_ms):
        pan = {"image": images[0], **(pan or {})}
        ms = {"image": images[1], "transform": PAN_GRID @ Affine.scale(4), **(ms or {}), **of_ms}
        return save(tmp_path / "pan.tif", **pan), save(tmp_path / "ms.tif", **ms)

    return make


def levels(pair):
    """Which of the file's bands each band is, by its mean."""
    return [round(float(band.mean()) / 300) for band in pair.ms]


def read(paths, sensor="GE1", **more):
    return geotiff.read_pair(*paths, sensor, convention="geo", **more)


RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@pytest.mark.parametrize(
    "said",
    [
        {"names": ("Red", "Green", "Blue", "NIR")},
        {"names": ("BAND_R", "BAND_G", "BAND_B", "BAND_N")},
        {"names": ("665.0 nm", "545.0 nm", "480.0 nm", "850.0 nm")},
        {"tags": [{"wavelength": nm} for nm in ("0.665", "0.545", "0.48", "0.85")]},
        {"tags": [{"CENTRAL_WAVELENGTH_NM": str(nm)} for nm in (672, 545, 480, 850)]},
        {"colours": (*RGB, ColorInterp.nir)},
    ],
)
def test_bands_are_put_into_the_sensors_order(files, said, capsys):
    assert levels(read(files(**said))) == [3, 2, 1, 4]
    told = capsys.readouterr().out
    assert "B is band 3, G is band 2, R is band 1, NIR is band 4" in told


@pytest.mark.parametrize(
    "names", [None, ("B", "G", "R", "NIR"), ("Blue", "Green", None, "near infrared"), ("b2",) * 4]
)
def test_bands_that_agree_or_say_nothing_stay(files, names, capsys):
    assert levels(read(files(names=names))) == [1, 2, 3, 4]
    assert "is band" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [("Red", "Green", "Blue", None), ("Blue", "Green", "Red", "SWIR"), ("PAN",) * 4]
)
def test_bands_that_contradict_the_sensor_are_refused(files, names):
    paths = files(names=names)
    with pytest.raises(ValueError, match=r"MS's bands are called .*--bands 3,2,1,4") as caught:
        read(paths)
    assert "\n" not in str(caught.value)
    assert levels(read(paths, bands="1,2,3,4")) == [1, 2, 3, 4]


def test_bands_by_hand(files):
    paths = files()
    assert levels(read(paths, bands="3, 2,1,4")) == levels(read(paths, bands="r,G,B,NIR"))
    for wrong in ("1,2,3", "1,2,3,5", "1,1,2,3", "R,G,B", "R,G,B,C", ""):
        with pytest.raises(ValueError, match=f"--bands {wrong}: expected 4 different numbers"):
            read(paths, bands=wrong)


def test_named_bands_are_picked_from_a_larger_file(files, images):
    ms = np.concatenate([images[1][:1] + 1500, images[1]])
    assert levels(read(files(image=ms, names=("Coastal", "Blue", "Green", "Red", "NIR")))) == [
        1, 2, 3, 4
    ]  # fmt: skip
    with pytest.raises(ValueError, match="MS has 5 bands, GE1 has 4"):
        read(files(image=ms))


def test_numbered_infrared_bands_are_told_apart():
    sensor = sensors.get("WV2")
    names = [sensor.bands.index(band) for band in ("NIR1", "NIR2")]
    source = type("Source", (), {})()
    source.descriptions, source.dtypes = ("Near infrared 1", "nir2", "infrared"), ("uint16",) * 3
    source.tags = lambda *_, **__: {}
    source.colorinterp = (ColorInterp.undefined,) * 3
    claims = [declared._claim(source, number, sensor) for number in (1, 2, 3)]
    assert claims == [{names[0]}, {names[1]}, set(names)]


def test_alpha_is_a_mask_where_the_sensor_has_no_band_for_it(files, images):
    alpha = np.full((1, SIDE // 4, SIDE // 4), 65535, "uint16")
    alpha[:, :10] = 0
    ms = {
        "image": np.concatenate([images[1], alpha]),
        "colours": (*[ColorInterp.undefined] * 4, ColorInterp.alpha),
    }
    clear = np.full_like(images[0], 65535)
    clear[:, :, :8] = 0
    pan = {
        "image": np.concatenate([images[0], clear]),
        "colours": (ColorInterp.gray, ColorInterp.alpha),
    }
    pair = read(files(pan, ms))
    expected = torch.ones(SIDE, SIDE, dtype=torch.bool)
    expected[:40], expected[:, :8] = False, False
    assert torch.equal(pair.valid, expected)


def test_alpha_in_the_place_of_a_band_is_told_or_refused(files, images, capsys):
    colours = (ColorInterp.undefined,) * 3 + (ColorInterp.alpha,)
    read(files(colours=colours))
    assert "GDAL takes band 4 for transparency" in capsys.readouterr().out
    ms = images[1].copy()
    ms[3] = 65535
    with pytest.raises(ValueError, match=r"band 4 is transparency .* 3 bands remain"):
        read(files(image=ms, colours=colours))


def test_bands_that_pan_does_not_see_are_named():
    assert declared.outside_pan(sensors.get("WV2")) == ["Coastal", "NIR2"]
    assert declared.outside_pan(sensors.get("GE1")) == []


def test_products_show_red_green_and_blue(files, tmp_path):
    paths = files(names=("Red", "Green", "Blue", "NIR"))
    pair = read(paths)
    geotiff.write_fused(tmp_path / "whole.tif", classical.fuse("EXP", pair), pair)
    how = {"method": "EXP", "convention": "geo", "progress": False}
    fusing.fuse_scene(*paths, tmp_path / "parts.tif", "GE1", **how)
    for name in ("whole.tif", "parts.tif"):
        with rasterio.open(tmp_path / name) as file:
            assert file.colorinterp == (*RGB[::-1], ColorInterp.undefined)
            assert file.descriptions == ("B", "G", "R", "NIR")
            means = file.read().mean((1, 2))
        assert means[0] > means[1] > means[2]  # B was the file's third band
    with rasterio.open(tmp_path / "parts.tif") as file:
        tags = file.tags()
    assert tags["MS_BANDS"] == "3,2,1,4" and tags["REGISTRATION"] == "none"
    assert tags["INPUTS"].startswith("PAN pan.tif ") and ", MS ms.tif " in tags["INPUTS"]


def rpc_of(size):
    unit = [1.0] + [0.0] * 19
    line, sample = [0.0] * 20, [0.0] * 20
    line[2], sample[1] = 1.0, 1.0
    return RPC(
        height_off=0, height_scale=1, lat_off=30, lat_scale=1, long_off=110, long_scale=1,
        line_off=size / 2, line_scale=size / 2, samp_off=size / 2, samp_scale=size / 2,
        line_num_coeff=line, line_den_coeff=unit, samp_num_coeff=sample, samp_den_coeff=unit,
    )  # fmt: skip


def test_rpcs_and_control_points_of_pan_are_carried(files, tmp_path, capsys):
    paths = files({"transform": None, "rpcs": rpc_of(SIDE)}, {"transform": None})
    points = [
        GroundControlPoint(row=r, col=c, x=1.0 + c, y=2.0 - r) for r, c in ((0, 0), (9, 0), (0, 9))
    ]
    for kind in ("rpcs", "gcps"):
        if kind == "gcps":
            paths = files({"transform": None}, {"transform": None})
            with rasterio.open(paths[0], "r+") as file:
                file.gcps = (points, CRS.from_epsg(4326))
        pair = read(paths)
        assert f"the result will have PAN's {kind[:3].upper()}s" in capsys.readouterr().out
        geotiff.write_fused(tmp_path / "whole.tif", classical.fuse("EXP", pair), pair)
        how = {"method": "EXP", "convention": "geo", "progress": False}
        fusing.fuse_scene(*paths, tmp_path / "parts.tif", "GE1", **how)
        for name in ("whole.tif", "parts.tif"):
            with rasterio.open(tmp_path / name) as file:
                if kind == "rpcs":
                    assert file.rpcs.line_off == SIDE / 2 and file.rpcs.samp_scale == SIDE / 2
                else:
                    assert [(p.row, p.col, p.x) for p in file.gcps[0]] == [
                        (p.row, p.col, p.x) for p in points
                    ]


def test_rpcs_move_with_the_crop(files, images):
    """PAN begins 8 rows above and 12 columns left of MS."""
    start = PAN_GRID @ Affine.translation(12, 8) @ Affine.scale(4)
    wide = np.pad(images[0], ((0, 0), (8, 0), (12, 0)), mode="edge")
    pair = read(files({"image": wide, "rpcs": rpc_of(SIDE)}, transform=start))
    assert pair.pan.shape == (1, SIDE, SIDE)
    assert (pair.georef["rpcs"].line_off, pair.georef["rpcs"].samp_off) == (120, 116)
    moved = places.moved(pair.georef, 2.5, -1)["rpcs"]
    assert (moved.line_off, moved.samp_off) == (122.5, 115)


def test_scaling_and_points_that_differ_are_told(files, capsys):
    paths = files()
    with rasterio.open(paths[1], "r+") as file:
        file.scales = (0.5,) * 4
    with rasterio.open(paths[0], "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    pair = read(paths)
    told = capsys.readouterr().out
    assert "PAN is scaled by 1 * DN + 0 and MS by 0.5 * DN + 0" in told
    assert "PAN's geotransform is for a pixel's point, MS's for its area" in told
    assert pair.georef["scaling"] == ((0.5,) * 4, (0.0,) * 4)


def test_crs_are_compared_by_place(files, capsys):
    one = read(files(crs="EPSG:32631+5773"))
    assert "horizontally one" in capsys.readouterr().out and one.valid is None
    nameless = CRS.from_epsg(32631).to_wkt().replace("UTM zone 31N", "our site")
    read(files(crs=CRS.from_wkt(nameless)))
    with pytest.raises(ValueError, match="PAN is in EPSG:32631, MS in EPSG:25831"):
        read(files(crs="EPSG:25831"))
    with pytest.raises(ValueError, match="PAN is in EPSG:32631, MS in no CRS: name it in both"):
        read(files(crs=None))


def test_south_up_pairs_are_fused_where_they_are(files, tmp_path):
    up = Affine(0.5, 0, 500000, 0, 0.5, 3999872)
    paths = files({"transform": up}, transform=up @ Affine.scale(4))
    pair = read(paths)
    assert pair.georef["transform"] == up
    fusing.fuse_scene(
        *paths, tmp_path / "f.tif", "GE1", method="EXP", convention="geo", progress=False
    )
    with rasterio.open(tmp_path / "f.tif") as file:
        assert file.transform == up
    with pytest.raises(ValueError, match="mirrored against each other"):
        read(files({"transform": up}))


@pytest.mark.parametrize("pixel", [2.0018, 2.004, 1.997])
def test_a_drift_names_the_command_that_mends_it(files, pixel):
    """Half a PAN pixel over 256 is a relative difference of 0.002."""
    scale = Affine(pixel, 0, 500000, 0, -pixel, 4000000)
    if abs(pixel / 2 - 1) * SIDE <= 0.5:
        read(files(transform=scale))
        return
    with pytest.raises(ValueError, match=r"PAN pixels large.*gdalwarp -r cubic -tr 2 2 -te ") as e:
        read(files(transform=scale))
    assert "-te 500000 3999872 500128 4000000 ms.tif" in str(e.value)


def test_an_offset_counts_even_if_the_shapes_fit(files, capsys):
    """MS begins 3 PAN pixels right of and below PAN: the first whole MS pixels are used."""
    start = PAN_GRID @ Affine.translation(3, 3) @ Affine.scale(4)
    with pytest.raises(
        ValueError, match=r"3\.0 below PAN; PAN and MS have 252 x 252 PAN pixels in common"
    ):
        read(files(transform=start))
    wide = np.zeros((1, SIDE + 4, SIDE + 4), "uint16") + 500
    wide[:, ::7] += 200
    pair = read(files({"image": wide}, transform=start))
    assert pair.georef["transform"] == PAN_GRID @ Affine.translation(3, 3)
    assert torch.equal(pair.pan, torch.from_numpy(wide[:, 3:259, 3:259]).float())


@pytest.mark.parametrize(
    "name",
    [
        "/vsizip//tmp/a.zip/pan.tif",
        "/vsicurl/https://x.org/pan.tif",
        "zip://a.zip!/p.tif",
        "s3://b/p.tif",
    ],
)
def test_archives_and_servers_are_refused_as_what_they_are(files, tmp_path, name):
    _, ms = files()
    for call in (
        lambda: read((name, ms)),
        lambda: fusing.check_scene(name, ms, tmp_path / "f.tif", "GE1"),
    ):
        with pytest.raises(ValueError, match="lies in an archive or on a server"):
            call()


@pytest.mark.parametrize("driver", ["NITF", "JP2OpenJPEG", "VRT"])
def test_other_formats(files, tmp_path, images, driver):
    from rasterio import shutil

    paths = files()
    options = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    ending = {"NITF": ".ntf", "JP2OpenJPEG": ".jp2", "VRT": ".vrt"}[driver]
    others = [path.with_suffix(ending) for path in paths]
    for path, other in zip(paths, others, strict=True):
        shutil.copy(path, other, driver=driver, **options)
    pair = read(others)
    assert np.array_equal(pair.ms.numpy(), images[1])
    exact = 0.6 if driver == "NITF" else 0  # its corners are kept in whole metres
    assert pair.georef["transform"].almost_equals(PAN_GRID, exact)


def test_files_behind_a_vrt_are_known(files, tmp_path):
    from rasterio import shutil

    paths = files()
    inner, outer = tmp_path / "inner.vrt", tmp_path / "outer.vrt"
    shutil.copy(paths[1], inner, driver="VRT")
    outer.write_text(inner.read_text().replace(">ms.tif<", ">inner.vrt<"))
    (tmp_path / "ms.tif.aux.xml").write_text("<PAMDataset/>")
    expected = {outer, inner, paths[1], tmp_path / "ms.tif.aux.xml"}
    assert grids.files_behind(outer) == {path.resolve() for path in expected}
    with pytest.raises(ValueError, match=r"ms\.tif is one of the files to be fused, or behind one"):
        fusing.check_scene(paths[0], outer, paths[1], "GE1")


def test_a_ratio_of_three_names_the_convention(files, tmp_path):
    text = (
        sensors.to_toml(sensors.get("GE1"))
        .replace("[GE1]", "[MINE]")
        .replace("ratio = 4", "ratio = 3")
    )
    (tmp_path / "mine.toml").write_text(text.replace('["GeoEye-1", "GeoEye"]', "[]"))
    with pytest.raises(ValueError, match=r"ratio 3; convention benchmark .* take --convention geo"):
        geotiff.read_pair(*files(), str(tmp_path / "mine.toml"))


def test_pairs_in_memory_need_no_files():
    pair = Pair(torch.ones(4, 64, 64), torch.ones(1, 256, 256), sensors.get("GE1"))
    assert pair.with_all_bands is None and pair.valid_results is None and pair.least == 0


def test_a_place_without_a_crs_is_carried(files, tmp_path):
    paths = files(pan={"crs": None}, crs=None)
    out = tmp_path / "fused.tif"
    fusing.fuse_scene(*paths, out, "GE1", method="GSA", progress=False)
    with rasterio.open(out) as file:
        assert file.crs is None and file.transform.almost_equals(PAN_GRID)
        assert all(band.min() < band.max() for band in file.read())


def test_a_jpeg_in_its_own_colours_is_red_green_and_blue(images, tmp_path, capsys):
    """GDAL calls any three bands of 8 bits red, green and blue, but only such a JPEG means it."""
    (tmp_path / "cam.toml").write_text(
        "[CAM]\nbands.B = [450, 520]\nbands.G = [520, 590]\nbands.R = [630, 690]\n"
        "pan_nm = [450, 700]\nratio = 4\nbits = 8\nmtf_ms = [0.3, 0.3, 0.3]\nmtf_pan = 0.15\n"
        'rgb = ["R", "G", "B"]\nsource = { mtf = "a", bands = "a", bits = "a" }\n'
    )
    pan = save(tmp_path / "pan.tif", (images[0] // 8).astype("uint8"))
    smooth = np.stack([np.full((SIDE // 4, SIDE // 4), 60 * i, "uint8") for i in (1, 2, 3)])
    smooth[:, ::2] += 20
    as_jpeg = {"compress": "jpeg", "photometric": "ycbcr"}
    for options, order in ((as_jpeg, [3, 2, 1]), ({"photometric": "rgb"}, [1, 2, 3])):
        ms = save(tmp_path / "ms.tif", smooth, PAN_GRID @ Affine.scale(4), **options)
        pair = geotiff.read_pair(pan, ms, tmp_path / "cam.toml")
        assert [round(float(band.mean()) / 60 - 1 / 6) for band in pair.ms] == order
        said = capsys.readouterr().out
        assert ("B is band 3, G is band 2, R is band 1" in said) == (options is as_jpeg)


def test_bands_that_say_nothing_are_told(files, capsys):
    read(files())
    assert "MS does not name its bands: they are taken as B, G, R, NIR" in capsys.readouterr().out
    read(files(names=("B", "G", "R", "NIR")))
    assert "does not name" not in capsys.readouterr().out
