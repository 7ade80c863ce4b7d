"""Stage I on synthetic and real pairs with truth: figures of an adapted CLIP beside its two
controls, 5 seeds.

Run: CLIPPAN_TEST_DATA=<folder> python tests/benchmarks/stage_one.py [--seeds 0,1,2,3,4] [--set
direction=0 ...] True HRMS is the synthetic scene's own truth, or MS one scale down. Held-out crops;
mean and standard deviation.
"""

import argparse
import ast
import json
import os
import time
from pathlib import Path

import numpy as np
from clip_zero_shot import SCENES

from clippan_lite import adaptation, clip, prompts
from clippan_lite.config import AdaptConfig
from clippan_lite.data import geotiff, synthetic
from clippan_lite.experiments import probes


def load_pairs(names: list[str] | None = None) -> dict[str, object]:
    """The synthetic scene and the real pairs one scale down, all with truth."""
    folder, pairs = Path(os.environ["CLIPPAN_TEST_DATA"]), {}
    for name in names or ["synthetic", *SCENES]:
        if name.startswith("synthetic"):
            pairs[name] = synthetic.make_scene(int(name[9:] or 0), 512)
        else:
            pair = geotiff.read_pair(
                folder / name / "pan.tif", folder / name / "ms.tif", SCENES[name]
            )
            pairs[name] = probes.judged(pair)
    return pairs


def changed(settings: list[str]) -> AdaptConfig:
    """Stage I with ``name=value`` texts applied."""
    config = AdaptConfig()
    for text in settings:
        name, _, value = text.partition("=")
        is_text = isinstance(getattr(config, name, None), str)
        config = config.changed(**{name: value if is_text else ast.literal_eval(value)})
    return config


def main() -> None:
    """Print one table per pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--pairs", default="", help="comma-separated; all when left out")
    parser.add_argument("--prompt", default="wald")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--set", nargs="*", default=[], help="settings of Stage I, name=value")
    parser.add_argument("--only-adapted", action="store_true", help="leave the controls out")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config, seeds = changed(args.set), [int(s) for s in args.seeds.split(",")]
    model, everything = clip.load_clip("bundled", args.weights), {}
    for name, pair in load_pairs(args.pairs.split(",") if args.pairs else None).items():
        start = time.time()
        if args.only_adapted:
            views = probes.held_out_views(pair, model.input_size)
            runs = [config.changed(seed=s) for s in seeds]
            models = [
                adaptation.adapt(pair, model, prompts.get(args.prompt), c, progress=False)[0]
                for c in runs
            ]
            rows = {"adapted": [probes.figures(m, views) for m in models]}
        else:
            rows = probes.controls(pair, model, prompts.get(args.prompt), config, seeds)
        seconds = (time.time() - start) / len(seeds)
        everything[name] = {"rows": rows, "seconds per seed": seconds}
        for row, tables in rows.items():
            cells = [
                f"{k} {np.mean([t[k] for t in tables]):.2f}±{np.std([t[k] for t in tables]):.2f}"
                for k in tables[0]
            ]
            print(f"{name:>12} {row:<24}", " | ".join(cells), f"| {seconds:.0f} s", flush=True)
    if args.json:
        args.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
