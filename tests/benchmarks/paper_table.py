"""Every backbone with and without L_d, by the paper's losses and weights, paired by seed.

Run on a GPU, in the paper's setting (1000 steps of 32 patches), twelve minutes at a time:
    CLIPPAN_TEST_DATA=<folder> python tests/benchmarks/paper_table.py ROWS.jsonl --minutes 12
and small, on a CPU:
    ... paper_table.py ROWS.jsonl --steps 20 --batch 2 --patch 128 --processes 1 --seeds 0,1
A job is one backbone, scene and seed: the teacher, trained one scale down, then the network without
L_d and with it. Each finished job is a line of ROWS.jsonl, and the same call goes on from there.
Seeds come first and the scenes of a backbone together, so a table that was stopped has whole rows.
Several processes share the GPU, because one leaves it idle half of the time (RESULTS.md).
"""

import argparse
import contextlib
import functools
import io
import itertools
import json
import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from clippan_lite import adaptation, backbones, clip, data, fusion, prompts, training
from clippan_lite.config import AdaptConfig, recipe
from clippan_lite.data import geotiff
from clippan_lite.experiments import provenance, statistics
from clippan_lite.metrics import evaluation
from clippan_lite.runtime import devices

SCENES = {"ikonos_town": "IKONOS", "wv2_urban": "WV2"}
RECORDED = ("steps", "batch", "patch", "clip", "pretrained")  # what the rows of a table share


@functools.cache
def prepared(scene: str, name: str, weights: str, device: str):
    """The pair one scale down, where MS is the truth, and the CLIP adapted to it."""
    folder = Path(os.environ["CLIPPAN_TEST_DATA"]) / scene
    pair = data.reduced(geotiff.read_pair(folder / "pan.tif", folder / "ms.tif", SCENES[scene]))
    random = weights == "random"
    model = clip.load_clip(name, None if random else weights or None, device, random)
    guide, _ = adaptation.adapt(
        pair, model, prompts.get("wald"), AdaptConfig(), device, progress=False
    )
    return pair, guide


def job(
    seed: int,
    backbone: str,
    scene: str,
    sizes: dict[str, int],
    name: str,
    weights: str,
    device: str,
):
    """Teacher, network without and with L_d: figures against the truth, and what it took."""
    begun, tables = time.perf_counter(), {}
    with contextlib.redirect_stdout(io.StringIO()):
        pair, guide = prepared(scene, name, weights, device)
        config = recipe("paper", **sizes, backbone=backbone, seed=seed)
        teacher = training.teach(pair, config, device=device, progress=False)
        for which, weight in (("without", 0.0), ("with", 1.0)):
            setting = config.changed(direction=weight)
            network, _ = training.train(pair, setting, guide, teacher, device, progress=False)
            tables[which] = evaluation.against_truth(fusion.fuse(pair, network), pair)
    seconds = time.perf_counter() - begun
    return {"seed": seed, "backbone": backbone, "scene": scene, **tables, "seconds": seconds}


def shown(rows: list[dict]) -> None:
    """Print what L_d changed, for each backbone and scene."""
    places = dict.fromkeys((row["backbone"], row["scene"]) for row in rows)
    for backbone, scene in places:
        own = [row for row in rows if (row["backbone"], row["scene"]) == (backbone, scene)]
        effects = statistics.paired_effects(
            [row["with"] for row in own], [row["without"] for row in own]
        )
        line = f"{backbone:>10} {scene:>12}, n = {len(own)}"
        for metric, effect in effects.items():
            low, high = effect["t95"] or (float("nan"), float("nan"))
            mean = sum(row["without"][metric] for row in own) / len(own)
            line += f" | {metric} {mean:.4g} {effect['difference']:+.3g} [{low:+.3g}, {high:+.3g}]"
        print(line)


def main() -> None:
    """Train what is missing until the time is over, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, help="finished jobs, one line each; made if missing")
    parser.add_argument("--minutes", type=float, default=12, help="no job begins after them")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--backbones", default=",".join(backbones.REGISTRY))
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--clip", default="bundled", help="or ViT-B-32, with weights at hand")
    parser.add_argument("--pretrained", default="", help="file or tag; random: random weights")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = devices.pick(args.device)
    facts = {name: getattr(args, name) for name in RECORDED}
    facts |= {
        "torch": torch.__version__,
        "device": devices.describe() if device != "cpu" else "CPU",
    }
    facts |= {"code": provenance.source_hash()}
    text = args.rows.read_text() if args.rows.is_file() else ""
    whole = text[: text.rfind("\n") + 1]  # a kill may leave half a line
    if whole != text:
        args.rows.write_text(whole)
    rows = [json.loads(line) for line in whole.splitlines()]
    if any(row["facts"] != facts for row in rows):
        raise SystemExit(f"{args.rows} holds rows of other settings; expected {facts}")
    done = {(row["seed"], row["backbone"], row["scene"]) for row in rows}
    names = args.backbones.split(","), args.scenes.split(",")
    wanted = itertools.product(map(int, args.seeds.split(",")), *names)
    left = [place for place in wanted if place not in done]
    sizes = {"steps": args.steps, "batch": args.batch, "patch": args.patch}
    rest = (sizes, args.clip, args.pretrained, device)
    print(f"{len(done)} jobs finished before, {len(left)} left", flush=True)
    begun, running = time.perf_counter(), set()
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
        while left or running:
            late = time.perf_counter() - begun > 60 * args.minutes
            while left and not late and len(running) < args.processes:
                running.add(pool.submit(job, *left.pop(0), *rest))
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                try:
                    row = future.result() | {"facts": facts}
                except Exception as error:  # the others go on; the same call tries it again
                    print(f"a job failed: {error}", flush=True)
                    continue
                rows.append(row)
                with args.rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{row['backbone']} {row['scene']} {row['seed']}: {row['seconds']:.0f} s")
    shown(rows)
    minutes = (time.perf_counter() - begun) / 60
    print(f"{len(rows)} jobs in the table, {len(left)} left; {minutes:.1f} minutes now")


if __name__ == "__main__":
    main()
