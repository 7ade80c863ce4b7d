"""Every figure of a fused image on disk, whoever made it, beside rows to compare with."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import rasterio
import torch

from clippan_lite import classical
from clippan_lite.data import Pair, geotiff
from clippan_lite.metrics import evaluation

#: Rows beside the image: name -> classical method and rounds of back-projection. EXP comes first,
#: because it scores well in HQNR and QNR without any detail of PAN.
BESIDE = {
    "EXP": ("EXP", 0),
    "BDSD-PC": ("BDSD-PC", 0),
    "BDSD-PC + 3 rounds": ("BDSD-PC", 3),
    "MTF-GLP-HPM + 3 rounds": ("MTF-GLP-HPM", 3),
}
Rows = dict[str, dict[str, float]]


def measure(
    fused: str | Path,
    pan: str | Path,
    ms: str | Path,
    sensor: str,
    truth: str | Path | None = None,
    convention: str = "benchmark",
    beside: bool = True,
) -> Rows:
    """Figures of a fused GeoTIFF, and of the rows `BESIDE` on the same pair.

    Args:
        fused: GeoTIFF on PAN's grid, MS's bands, DN.
        pan: panchromatic GeoTIFF.
        ms: multispectral GeoTIFF.
        sensor: name in the sensor table, or a sensor file.
        truth: GeoTIFF of the true image on PAN's grid, where it is known.
        convention: ``"benchmark"`` or ``"geo"``.
        beside: whether the rows to compare with are made, which takes a second per megapixel.

    Returns:
        Row -> figure -> value, the image's row first, named after its file.

    Raises:
        ValueError: images that do not fit each other.
    """
    pair = geotiff.read_pair(pan, ms, sensor, convention=convention)
    image = read_like(fused, pair)
    if truth is not None:
        pair.truth = read_like(truth, pair)
    rows = {Path(fused).name: evaluation.evaluate(image, pair)}
    for name, (method, rounds) in BESIDE.items() if beside else ():
        rows[name] = evaluation.evaluate(classical.fuse(method, pair, rounds), pair)
    return rows


def read_like(path: str | Path, pair: Pair) -> torch.Tensor:
    """An image on a pair's PAN grid, DN: ``(C, H, W)`` float32.

    Raises:
        ValueError: another size, other bands, or another place.
    """
    with rasterio.open(path) as file:
        found = (file.count, file.height, file.width)
        expected = (pair.bands, *pair.pan.shape[1:])
        if found != expected:
            raise ValueError(
                f"{Path(path).name}: expected {expected[0]} bands of {expected[1]} x {expected[2]} "
                f"pixels, MS's bands on the grid that PAN and MS share, found {found[0]} of "
                f"{found[1]} x {found[2]}: fuse or crop it to that grid"
            )
        here = pair.georef.get("transform")
        if file.crs and here and not file.transform.almost_equals(here, 0.5 * abs(here.a)):
            raise ValueError(
                f"{Path(path).name} lies elsewhere than PAN: its transform is "
                f"{tuple(file.transform)[:6]}, expected {tuple(here)[:6]}"
            )
        return torch.from_numpy(file.read().astype("float32"))


def written(rows: Rows, form: str = "table") -> str:
    """The rows as a text.

    Args:
        rows: from `measure`.
        form: ``"table"``, ``"json"`` or ``"csv"``.
    """
    names = list(next(iter(rows.values())))
    if form == "json":
        return json.dumps(rows, indent=1)
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, ["image", *names])
        writer.writeheader()
        writer.writerows({"image": row, **figures} for row, figures in rows.items())
        return text.getvalue().rstrip()
    width = max(len(row) for row in rows)
    lines = [" ".join([" " * width, *(f"{name:>10}" for name in names)])]
    for row, figures in rows.items():
        lines.append(" ".join([f"{row:<{width}}", *(f"{figures[n]:>10.4f}" for n in names)]))
    return "\n".join(lines)
