"""Memory and throughput of fusing a whole scene, against the bare network on tiles in memory.

Run: python tests/benchmarks/whole_scene.py [--size 16384] [--methods gsa] [--workers]
    [--folder DIR] [--json FILE]
The scene is a synthetic one of 2048 PAN pixels (8 bands), repeated to size. Peak memory is that of
a process of its own.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from apart import printed
from rasterio.windows import Window

TILE = 2048

FUSE = """
import json, os, sys, time
import apart
from clippan_lite import backbones
from clippan_lite.large_scenes import fusing
import torch
folder, size, method, workers = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.manual_seed(0)
network = None if method != "network" else backbones.create("fusionnet", 8).eval()
apart.forget_peak()
begun = time.perf_counter()
options = {"network": network} if network is not None else {"method": method}
if workers:  # processes of one thread each
    import dask
    import clippan_lite.runtime.workers
    from dask.distributed import LocalCluster
    dask.config.set(clippan_lite.runtime.workers.ENVIRONMENT)
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    options["scheduler"] = cluster.scheduler_address
    begun = time.perf_counter()
files = [f"{folder}/{name}.tif" for name in (f"pan_{size}", f"ms_{size}", "fused")]
fusing.fuse_scene(*files, "WV2", progress=False, **options)
seconds = time.perf_counter() - begun
os.remove(f"{folder}/fused.tif")
rate = size * size / 1e6 / seconds
print(json.dumps({"seconds": seconds, "MPix/s": rate, "peak GiB": apart.peak()}))
"""

BARE = """
import json, time, torch
from clippan_lite import backbones, fusion
from clippan_lite.data import synthetic
torch.manual_seed(0)
network, pair = backbones.create("fusionnet", 8).eval(), synthetic.make_scene(0, 2048, "WV2")
network = network.to(memory_format=torch.channels_last)
found = {}
for side in (256, 320, 512, 1024):
    tiles = [
        (pair.ms[None, :, y // 4 : (y + side) // 4, x // 4 : (x + side) // 4].contiguous()
         / pair.scale,
         pair.pan[None, :, y : y + side, x : x + side].contiguous() / pair.scale)
        for y in range(0, 2048, side) for x in range(0, 2048, side)
    ]
    with torch.no_grad():
        network(*tiles[0])
        begun = time.perf_counter()
        for tile in tiles:
            network(*tile)
        found[f"tiles of {side}, MPix/s"] = 2048**2 / 1e6 / (time.perf_counter() - begun)
print(json.dumps(found))
"""


def write_scene(folder: Path, size: int) -> None:
    """``pan_SIZE.tif`` and ``ms_SIZE.tif``, a synthetic scene repeated."""
    from clippan_lite.data import synthetic

    begun = time.perf_counter()
    pair = synthetic.make_scene(0, TILE, "WV2")
    print(f"scene of {TILE} x {TILE} x 8: {time.perf_counter() - begun:.1f} s", flush=True)
    for name, image, pixel in (("pan", pair.pan, 0.5), ("ms", pair.ms, 2.0)):
        pixels, side = image.numpy().astype(np.uint16), image.shape[-1]
        whole = side * size // TILE
        profile = {
            "driver": "GTiff",
            "count": len(pixels),
            "height": whole,
            "width": whole,
            "dtype": "uint16",
        }
        profile |= {
            "tiled": True,
            "transform": rasterio.Affine(pixel, 0, 5e5, 0, -pixel, 5e6),
            "crs": "EPSG:32631",
        }
        with rasterio.open(
            folder / f"{name}_{size}.tif", "w", **profile, BIGTIFF="IF_SAFER"
        ) as file:
            for top in range(0, whole, side):
                for left in range(0, whole, side):
                    file.write(pixels, window=Window(left, top, side, side))


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=16384)
    parser.add_argument("--methods", default="network,gsa")
    parser.add_argument(
        "--workers", action="store_true", help="one and two dask workers on the same scene"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="a few times the scene's size must fit (default: a temporary one)",
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        folder, found = Path(scratch), {"bare network": printed(BARE)}
        print("bare network", found["bare network"], flush=True)
        for size in (args.size // 2, args.size):
            write_scene(folder, size)
            for method in args.methods.split(","):
                found[f"{method} {size}"] = printed(FUSE, folder, size, method, 0)
                print(method, size, found[f"{method} {size}"], flush=True)
        for workers in (1, 2) if args.workers else ():
            found[f"{workers} workers"] = printed(FUSE, folder, args.size, "network", workers)
            print(workers, "workers", found[f"{workers} workers"], flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
