"""What a user would pick instead, on the same files, the same cores and in one run.

Run: python tests/benchmarks/peers.py FOLDER@SENSOR ... [--out TABLE.md]
Peers: GDAL's pansharpening (what the program gdal_pansharpen runs, here through the GDAL of
rasterio) and Brovey's method of deepinv, which is installed into a folder of its own, deleted at
the end. Each method runs in a process of its own, twice: on the scene as it is, and one scale down,
where MS is the truth. Seconds are from files to pixels, without imports. GDAL and deepinv take the
areas of PAN and MS as aligned (convention geo), so give scenes of which that is true.
"""

import argparse
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import rasterio
import torch
from apart import printed

import clippan_lite as cl
from clippan_lite.data import reduced
from clippan_lite.metrics import evaluation

PEERS = ("deepinv", "einops", "natsort")  # all else that deepinv needs is here already

GDAL = """
<VRTDataset subClass="VRTPansharpenedDataset">
<PansharpeningOptions><Algorithm>WeightedBrovey</Algorithm><NumThreads>ALL_CPUS</NumThreads>
<PanchroBand><SourceFilename>{folder}/pan.tif</SourceFilename><SourceBand>1</SourceBand>
</PanchroBand>{bands}</PansharpeningOptions></VRTDataset>
"""
BAND = (
    '<SpectralBand dstBand="{i}"><SourceFilename>{folder}/ms.tif</SourceFilename>'
    "<SourceBand>{i}</SourceBand></SpectralBand>"
)

# Each defines fused(folder, read) -> (C, H, W) array in DN; read() gives our pair.
METHODS = {
    "GDAL (gdal_pansharpen)": """
def fused(folder, read):
    with rasterio.open(folder + "/fused.vrt") as file:
        return file.read()
""",
    "deepinv, Brovey": """
import deepinv, torch
from deepinv.utils import TensorList
def fused(folder, read):
    with rasterio.open(folder + "/pan.tif") as file:
        pan = torch.from_numpy(file.read().astype("float32"))[None]
    with rasterio.open(folder + "/ms.tif") as file:
        ms = torch.from_numpy(file.read().astype("float32"))[None]
    size = (ms.shape[1], *pan.shape[-2:])
    physics = deepinv.physics.Pansharpen(size, factor=pan.shape[-1] // ms.shape[-1])
    with torch.no_grad():
        return physics.A_dagger(TensorList([ms, pan]))[0].numpy()
""",
    **{
        f"clippan-lite, {name}": f"""
from clippan_lite import classical
def fused(folder, read):
    return classical.fuse("{name}", read()).numpy()
"""
        for name in ("EXP", "GSA", "MTF-GLP-HPM")
    },
    "clippan-lite, GSA back-projected": """
from clippan_lite import classical
def fused(folder, read):
    return classical.fuse("GSA", read(), rounds=1).numpy()
""",
    "clippan-lite, `fuse`": """
import clippan_lite as cl
def fused(folder, read):
    return cl.fuse(read()).numpy()
""",
    "clippan-lite, `fuse --adapt`": """
import clippan_lite as cl
def fused(folder, read):
    pair = read()
    return cl.fuse(pair, cl.train(pair, cl.recipe("best"), progress=False)[0]).numpy()
""",
}

RUN = """
import contextlib, dataclasses, io, json, sys, time, warnings
warnings.simplefilter("ignore")
import apart
import numpy as np, rasterio
import clippan_lite as cl
{code}
scene, folder, sensor, convention, out = sys.argv[1:6]
def read():
    pair = cl.read_pair(scene + "/pan.tif", scene + "/ms.tif", sensor, convention=convention)
    if scene == folder:
        return pair
    small = cl.data.reduced(pair)  # rounded, as in the files that the others read
    return dataclasses.replace(small, ms=small.ms.round(), pan=small.pan.round())
apart.forget_peak()
begun = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    image = fused(folder, read)
seconds = time.perf_counter() - begun
np.save(out, image)
print(json.dumps([seconds, apart.peak()]))
"""


def written(pair: cl.Pair, folder: Path) -> Path:
    """A pair as files that every method reads, with GDAL's description of the fused image."""
    folder.mkdir()
    for name, image, pixel in (("pan", pair.pan, 1.0), ("ms", pair.ms, float(pair.ratio))):
        pixels = image.round().clip(0, 65535).numpy().astype(np.uint16)
        profile = {"driver": "GTiff", "count": len(pixels), "dtype": "uint16"}
        profile |= {"height": pixels.shape[1], "width": pixels.shape[2], "crs": "EPSG:32631"}
        profile |= {"transform": rasterio.Affine(pixel, 0, 5e5, 0, -pixel, 5e6)}
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as file:
            file.write(pixels)
    bands = "".join(BAND.format(i=i + 1, folder=folder) for i in range(pair.bands))
    (folder / "fused.vrt").write_text(GDAL.format(folder=folder, bands=bands))
    return folder


def run(
    code: str, scene: Path, folder: Path, pair: cl.Pair, libraries: Path
) -> tuple[torch.Tensor, list[float]]:
    """What a method makes of a folder's files, in a process of its own; its seconds and GiB.

    ``scene`` is the folder of the scene itself, from which our own methods take either scale.
    """
    arguments = (scene, folder, pair.sensor.name, pair.convention, folder / "fused.npy")
    took = printed(RUN.replace("{code}", code), *arguments, paths=(libraries,))
    return torch.from_numpy(np.load(arguments[-1]).astype(np.float32)), took


def main() -> None:
    """Print a table for each scene, and write all of them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "scenes",
        nargs="+",
        help="FOLDER@SENSOR or FOLDER@SENSOR@CONVENTION, a folder with pan.tif and ms.tif",
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        libraries = Path(scratch) / "peers"
        pip = [sys.executable, "-m", "pip"] if find_spec("pip") else ["uv", "pip"]
        install = [*pip, "install", "-q", "--no-deps", "--target", str(libraries), *PEERS]
        subprocess.run(install, check=True)
        for scene in args.scenes:
            folder, sensor, *rest = scene.split("@")
            pair = cl.read_pair(
                f"{folder}/pan.tif", f"{folder}/ms.tif", sensor, convention=(*rest, "benchmark")[0]
            )
            small = reduced(pair)
            number = len(list(Path(scratch).iterdir()))
            places = [
                written(one, Path(scratch) / f"{number}{kind}")
                for kind, one in (("full", pair), ("reduced", small))
            ]
            height, width = pair.pan.shape[-2:]
            lines += [
                f"**{Path(folder).name}**, {pair.sensor.name}, {width} x {height} PAN pixels, "
                f"{pair.bands} bands, convention {pair.convention}",
                "",
                "| method | s | GiB | HQNR | QNR | D_rho | Q2n | ERGAS | SAM |",
                "|---|---|---|---|---|---|---|---|---|",
            ]
            for name, code in METHODS.items():
                image, (seconds, peak) = run(code, places[0], places[0], pair, libraries)
                full = evaluation.at_full_resolution(image, pair)
                image, _ = run(code, places[0], places[1], pair, libraries)
                truth = evaluation.against_truth(image, small)
                figures = [full[k] for k in ("HQNR", "QNR", "D_rho")]
                figures += [truth["Q2n"], truth["ERGAS"], truth["SAM"]]
                digits = (3, 3, 3, 3, 2, 2)
                cells = [f"{v:.{d}f}" for v, d in zip(figures, digits, strict=True)]
                lines.append(f"| {name} | {seconds:.1f} | {peak:.1f} | {' | '.join(cells)} |")
                print(lines[-1], flush=True)
            lines.append("")
    if args.out:
        args.out.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
