import dataclasses
import json
import tomllib

import pytest

from clippan_lite.physics import sensors

# Nyquist gains as the toolboxes list them (MS, PAN).
GAINS = {
    "QB": ((0.34, 0.32, 0.30, 0.22), 0.15),
    "IKONOS": ((0.26, 0.28, 0.29, 0.28), 0.17),
    "GE1": ((0.23,) * 4, 0.16),
    "WV4": ((0.23,) * 4, 0.16),
    "WV2": ((0.35,) * 7 + (0.27,), 0.11),
    "WV2_4": ((0.35,) * 4, 0.11),
    "WV3": ((0.325, 0.355, 0.360, 0.350, 0.365, 0.360, 0.335, 0.315), 0.14),
    "PLEIADES": ((0.285, 0.285, 0.29, 0.285), 0.155),
    "GF1": ((0.30,) * 4, 0.15),
    "GF2": ((0.30,) * 4, 0.15),
    "LANDSAT7": ((0.30,) * 6, 0.15),
    "LANDSAT8": ((0.30,) * 3, 0.15),
    "LANDSAT9": ((0.30,) * 3, 0.15),
    "VHR4": ((0.30,) * 4, 0.15),
}


@pytest.mark.parametrize("name", GAINS)
def test_gains_and_band_count(name):
    s = sensors.get(name)
    assert (s.mtf_ms, s.mtf_pan) == GAINS[name]
    assert len(s.bands) == len(s.wavelengths_nm) == len(s.widths_nm) == len(s.mtf_ms)


def test_all_sensors_are_listed_here():
    assert set(sensors.SENSORS) == set(GAINS)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("WorldView-2", "WV2"),
        ("wv2", "WV2"),
        ("WV-3", "WV3"),
        ("GeoEye-1", "GE1"),
        ("QuickBird", "QB"),
        ("Landsat-8", "LANDSAT8"),
        ("Landsat 9", "LANDSAT9"),
        ("OLI-2", "LANDSAT9"),
        ("landsat 7", "LANDSAT7"),
        ("WV2 (4 bands)", "WV2_4"),
        ("wv2_4", "WV2_4"),
        ("GaoFen-2", "GF2"),
        ("Pleiades", "PLEIADES"),
        ("ikonos", "IKONOS"),
    ],
)
def test_aliases(alias, name):
    assert sensors.get(alias).name == name


@pytest.mark.parametrize("bad", ["SPOT9", "", None, 4])
def test_unknown_name_is_one_line_with_the_known_ones(bad):
    with pytest.raises(ValueError, match="unknown sensor") as error:
        sensors.get(bad)
    text = str(error.value)
    assert "\n" not in text and all(name in text for name in sensors.SENSORS) and "VHR4" in text


@pytest.mark.parametrize("name", GAINS)
def test_wavelengths_are_plausible(name):
    s = sensors.get(name)
    assert all(
        400 <= c <= 2500 and 20 <= w <= 300
        for c, w in zip(s.wavelengths_nm, s.widths_nm, strict=True)
    )
    assert s.pan_nm[0] < s.pan_nm[1]
    red, green, blue = (s.wavelengths_nm[i] for i in s.rgb)
    assert red > green > blue
    assert 620 < red < 690 and 530 < green < 570 and 470 < blue < 500


def test_ratio_and_bits():
    assert {n for n, s in sensors.SENSORS.items() if s.ratio == 2} == {
        "LANDSAT7",
        "LANDSAT8",
        "LANDSAT9",
    }
    bits = {n: s.bits for n, s in sensors.SENSORS.items() if s.bits != 11}
    assert bits == {
        "LANDSAT7": 8,
        "LANDSAT8": 16,
        "LANDSAT9": 16,
        "GF1": 10,
        "GF2": 10,
        "PLEIADES": 12,
    }


def test_assumptions_are_named():
    assumed = {name: s.assumed for name, s in sensors.SENSORS.items() if s.assumed}
    landsat = dict.fromkeys(("LANDSAT7", "LANDSAT8", "LANDSAT9"), ("mtf",))
    assert assumed == {
        "GF1": ("mtf",),
        "GF2": ("mtf",),
        "VHR4": ("mtf", "bands", "bits"),
        **landsat,
    }
    for sensor in sensors.SENSORS.values():
        assert set(sensor.sources) == {"mtf", "bands", "bits"} and (
            "assumption" in sensor.source
        ) == bool(sensor.assumed)


def test_with_bits_leaves_the_original():
    ge1 = sensors.get("GE1")
    eight = sensors.with_bits(ge1, 8)
    assert (eight.bits, ge1.bits) == (8, 11)
    assert dataclasses.replace(eight, bits=11) == ge1
    with pytest.raises(ValueError, match="bits from 1 to 32"):
        sensors.with_bits(ge1, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"mtf_ms": (0.3,)},
        {"mtf_pan": 1.0},
        {"ratio": 1},
        {"rgb": (2, 1, 4)},
        {"widths_nm": (1.0,) * 5},
        {"sources": {"mtf": "measured"}},
    ],
)
def test_inconsistent_sensor_is_refused(change):
    with pytest.raises(ValueError, match="sensor VHR4: expected"):
        dataclasses.replace(sensors.get("VHR4"), **change)


CAMERA = """
[MYCAM]
aliases = ["My Camera"]
bands.B = [450.5, 520]
bands."near IR" = [770, 890.25]
pan_nm = [450, 900]
ratio = 3
bits = 12
mtf_ms = [0.31, 0.27]
mtf_pan = 0.16
rgb = ["near IR", "B", "B"]
source.mtf = "assumption: guessed"
source.bands = "data sheet"
source.bits = "data sheet"
"""
OTHER = CAMERA.replace("MYCAM", "OTHER").replace("My Camera", "another")


@pytest.fixture
def camera(tmp_path):
    def write(text=CAMERA, name="mycam.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_own_sensor(camera):
    path = camera()
    (sensor,) = sensors.load(path).values()
    assert sensor == sensors.Sensor(
        name="MYCAM",
        bands=("B", "near IR"),
        wavelengths_nm=(485.25, 830.125),
        widths_nm=(69.5, 120.25),
        pan_nm=(450.0, 900.0),
        ratio=3,
        bits=12,
        mtf_ms=(0.31, 0.27),
        mtf_pan=0.16,
        rgb=(1, 0, 0),
        sources={"mtf": "assumption: guessed", "bands": "data sheet", "bits": "data sheet"},
        aliases=("My Camera",),
    )
    assert (
        sensors.get(str(path))
        == sensors.get(f"{path}:mycam")
        == sensors.get(f"{path}:my-camera")
        == sensor
    )
    assert not sensors.is_built_in(sensor) and sensors.is_built_in(
        sensors.with_bits(sensors.get("GE1"), 8)
    )


def test_one_of_several_sensors_in_a_file(camera):
    path = camera(CAMERA + OTHER)
    assert (
        list(sensors.load(path)) == ["MYCAM", "OTHER"]
        and sensors.get(f"{path}:OTHER").name == "OTHER"
    )
    with pytest.raises(
        ValueError, match=r"holds 2 sensors, expected one: give .*toml:MYCAM or .*toml:OTHER"
    ):
        sensors.get(str(path))
    with pytest.raises(ValueError, match="holds no sensor 'WV2': known are MYCAM, OTHER"):
        sensors.get(f"{path}:WV2")


@pytest.mark.parametrize("name", sensors.SENSORS)
def test_a_sensor_survives_its_own_toml_and_json(name):
    sensor = sensors.get(name)
    table = tomllib.loads(sensors.to_toml(sensor))[name]
    assert sensors.from_table(name, table, "here") == sensor
    assert (
        sensors.from_table(name, json.loads(json.dumps(sensors.to_table(sensor))), "here") == sensor
    )


def test_odd_names_and_edges_survive_toml(camera):
    text = CAMERA.replace('"near IR"', '"näher \\"IR\\" #1"').replace("450.5", "450.12345")
    sensor = sensors.get(str(camera(text)))
    assert sensor.bands[1] == 'näher "IR" #1'
    assert sensors.get(str(camera(sensors.to_toml(sensor), "again.toml"))) == sensor


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ratio = 3\n", "", r"\[MYCAM\] lacks ratio: add it"),
        (
            "source.bits",
            "source.bit",
            r"\[MYCAM\] source: expected source.mtf, source.bands and source.bits",
        ),
        (
            "ratio = 3",
            "ration = 3",
            r"\[MYCAM\] has an unknown key 'ration': known are bands, .*aliases",
        ),
        (
            "[0.31, 0.27]",
            "[0.31]",
            r"mtf_ms: expected 2 numbers, one per band, found \[0.31\]: mend",
        ),
        ("0.27", "1.0", r"mtf_ms: expected MTF gains between 0 and 1, found \[0.31, 1.0\]"),
        ("0.16", "0", "mtf_pan: expected MTF gains between 0 and 1, found 0"),
        ("0.16", '"high"', "mtf_pan: expected a number, found 'high'"),
        (
            "[450.5, 520]",
            "[0.45, 0.52]",
            "bands.B: expected a lower and an upper edge in nm, 200 to 20000",
        ),
        ("ratio = 3", "ratio = 4.0", "ratio: expected a whole number from 2 to 32, found 4.0"),
        ("ratio = 3", "ratio = 1", "ratio: expected a whole number from 2 to 32, found 1"),
        ("bits = 12", "bits = true", "bits: expected a whole number from 1 to 32, found True"),
        (
            "[450.5, 520]",
            "[520, 450]",
            r"bands.B: expected a lower and an upper edge in nm, 200 to 20000, .* \[520, 450\]",
        ),
        ("[450, 900]", "[450]", r"pan_nm: expected a lower and an upper edge"),
        ("[450, 900]", "[450, nan]", r"pan_nm: expected a lower and an upper edge"),
        (
            '"near IR", "B", "B"',
            '"R", "B", "B"',
            "rgb: expected three of the bands B, near IR, found",
        ),
        ('"near IR", "B", "B"', '["B"], "B", "B"', "rgb: expected three of the bands"),
        ('["My Camera"]', '"My Camera"', "aliases: expected a list of names"),
        ('"assumption: guessed"', '" "', "source: expected source.mtf"),
        (
            "[MYCAM]",
            "[WV2]",
            r"\[WV2\] is a built-in sensor's name, expected one of your own: rename it",
        ),
        (
            "[MYCAM]",
            '["my cam"]',
            r"expected a name of letters, digits, _ and -, found \[my cam\]: rename",
        ),
        ("[MYCAM]", "", "expected tables such as .*found 'aliases' outside: put"),
        ("ratio = 3", "ratio 3", r"cannot be read as TOML.*\(at line 7, column 7\): mend the file"),
        ("data sheet", "data\x00sheet", "cannot be read as TOML"),
        (CAMERA, "", "holds no sensor, expected a table"),
        (
            CAMERA,
            CAMERA + OTHER.replace("another", "mycam"),
            r"\[MYCAM\] and \[OTHER\] are both called 'mycam'",
        ),
    ],
)
def test_bad_files_are_told_in_one_line(camera, old, new, message):
    assert old in CAMERA
    path = camera(CAMERA.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        sensors.load(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path))


def test_no_file(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ValueError, match="is not a file: give the path of a TOML file"):
            sensors.load(path)
    with pytest.raises(ValueError, match=r"none\.toml is not a file"):
        sensors.get(str(tmp_path / "none.toml:NAME"))
    (tmp_path / "latin.toml").write_bytes(CAMERA.replace("guessed", "geschätzt").encode("latin-1"))
    with pytest.raises(ValueError, match="cannot be read as TOML, expected UTF-8"):
        sensors.load(tmp_path / "latin.toml")


def test_paths_become_absolute_and_names_stay(camera, monkeypatch):
    path = camera()
    monkeypatch.chdir(path.parent)
    assert (
        sensors.resolve("mycam.toml") == str(path)
        and sensors.resolve("mycam.toml:A") == f"{path}:A"
    )
    assert sensors.resolve("WV-2") == "WV-2"


def test_one_sensor_of_a_file_can_be_listed(tmp_path):
    file = tmp_path / "two.toml"
    lines = sensors.to_toml(sensors.get("IKONOS")).splitlines(keepends=True)
    entry = "".join(line for line in lines if "aliases" not in line)
    file.write_text(entry.replace("[IKONOS]", "[ONE]") + entry.replace("[IKONOS]", "[TWO]"))
    assert list(sensors.load(file)) == ["ONE", "TWO"] and list(sensors.load(f"{file}:TWO")) == [
        "TWO"
    ]
