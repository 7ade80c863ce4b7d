"""Every backbone with and without the CLIP term of recipe "paper", paired by seed.

Run: CLIPPAN_TEST_DATA=<folder> python tests/benchmarks/paper_table.py [--steps 80] [--batch 4]
[--json FILE] The recipe's losses and weights (L_spec, L_spat, L_QNR, L_ship and L_d, 1 each), but
fewer steps and smaller batches than its 1000 and 32, which a CPU does not make. The teacher,
trained one scale down, is shared by both.
"""

import argparse
import json
import os
import time
from pathlib import Path

from clippan_lite import adaptation, backbones, clip, data, fusion, prompts, training
from clippan_lite.config import AdaptConfig, recipe
from clippan_lite.data import geotiff
from clippan_lite.experiments import statistics
from clippan_lite.metrics import evaluation

SCENES = {"ikonos_town": "IKONOS", "wv2_urban": "WV2"}


def main() -> None:
    """Print one line per backbone and scene: what the CLIP term changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--backbones", default=",".join(backbones.REGISTRY))
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument(
        "--full", action="store_true", help="at full resolution too, which doubles the time"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sizes = {"steps": args.steps, "batch": args.batch, "patch": args.patch}
    folder, everything = Path(os.environ["CLIPPAN_TEST_DATA"]), {}
    for scene in args.scenes.split(","):
        whole = geotiff.read_pair(
            folder / scene / "pan.tif", folder / scene / "ms.tif", SCENES[scene]
        )
        pairs = {"reduced": data.reduced(whole)} | ({"full": whole} if args.full else {})
        guides = {
            scale: adaptation.adapt(
                pair, clip.load_clip(), prompts.get("wald"), AdaptConfig(), progress=False
            )[0]
            for scale, pair in pairs.items()
        }
        for name in args.backbones.split(","):
            rows, begun = {"with": [], "without": []}, time.perf_counter()
            for seed in map(int, args.seeds.split(",")):
                tables = {"with": {}, "without": {}}
                for scale, pair in pairs.items():
                    config = recipe("paper", **sizes, backbone=name, seed=seed)
                    teacher = training.teach(pair, config, progress=False)
                    for which, weight in (("with", 1.0), ("without", 0.0)):
                        setting = config.changed(direction=weight)
                        network, _ = training.train(
                            pair, setting, guides[scale], teacher, progress=False
                        )
                        fused = fusion.fuse(pair, network)
                        judge = (
                            evaluation.against_truth
                            if scale == "reduced"
                            else evaluation.at_full_resolution
                        )
                        tables[which] |= judge(fused, pair)
                for which, table in tables.items():
                    rows[which].append(table)
            effects = statistics.paired_effects(rows["with"], rows["without"])
            everything[f"{scene} {name}"] = {**rows, "effects": effects}
            line = f"{scene:>12} {name:>9}"
            for metric, effect in effects.items():
                low, high = effect["t95"] or (float("nan"), float("nan"))
                mean = sum(row[metric] for row in rows["without"]) / len(rows["without"])
                line += (
                    f" | {metric} {mean:.4g} {effect['difference']:+.3g} [{low:+.3g}, {high:+.3g}]"
                )
            print(f"{line} | {(time.perf_counter() - begun) / 60:.1f} minutes", flush=True)
            if args.json:
                args.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
