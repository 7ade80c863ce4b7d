import dataclasses

import pytest

from clippan_lite import sensors

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
    "GF2": ((0.30,) * 4, 0.15),
    "LANDSAT7": ((0.30,) * 6, 0.15),
    "LANDSAT8": ((0.30,) * 3, 0.15),
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
    assert all(400 <= c <= 2500 and 20 <= w <= 300 for c, w in zip(s.wavelengths_nm, s.widths_nm, strict=True))
    assert s.pan_nm[0] < s.pan_nm[1]
    red, green, blue = (s.wavelengths_nm[i] for i in s.rgb)
    assert red > green > blue
    assert 620 < red < 690 and 530 < green < 570 and 470 < blue < 500


def test_ratio_and_bits():
    assert {n for n, s in sensors.SENSORS.items() if s.ratio == 2} == {"LANDSAT7", "LANDSAT8"}
    bits = {n: s.bits for n, s in sensors.SENSORS.items() if s.bits != 11}
    assert bits == {"LANDSAT7": 8, "LANDSAT8": 16, "GF2": 10, "PLEIADES": 12}


def test_assumptions_are_named():
    for name in ("GF2", "LANDSAT7", "LANDSAT8", "VHR4"):
        assert "assumption" in sensors.get(name).source
    assert "assumption" not in sensors.get("WV2").source


def test_with_bits_leaves_the_original():
    ge1 = sensors.get("GE1")
    eight = sensors.with_bits(ge1, 8)
    assert (eight.bits, ge1.bits) == (8, 11)
    assert dataclasses.replace(eight, bits=11) == ge1
    with pytest.raises(ValueError, match="bits >= 1"):
        sensors.with_bits(ge1, 0)


@pytest.mark.parametrize(
    "change", [{"mtf_ms": (0.3,)}, {"mtf_pan": 1.0}, {"ratio": 1}, {"rgb": (2, 1, 4)}, {"widths_nm": (1.0,) * 5}]
)
def test_inconsistent_sensor_is_refused(change):
    with pytest.raises(ValueError, match="sensor VHR4: expected"):
        dataclasses.replace(sensors.get("VHR4"), **change)
