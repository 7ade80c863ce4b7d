"""All that speed is held to, in one run: a table of now, target and what was recorded last.

Run alone on an idle machine, about eight minutes:
    python tests/benchmarks/held.py [--before CHECKOUT] [--rounds 3] [--record]
With --before, every step of training is also timed in another checkout, in turn with this one, so
that a machine whose speed drifts does not decide. --record keeps the figures in held.json.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import whole_scene
from apart import printed

REPO = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_suffix(".json")
#: name -> recipe and changes. The paper's batch of 32 patches of 256 is for a GPU (gpu_steps.py).
STEPS = {
    "quick": ("quick", {}),
    "quick without L_d": ("quick", {"direction": 0.0}),
    "best": ("best", {}),
    "paper, batch 2": ("paper", {"batch": 2}),
    "course": ("course", {}),
}
#: what -> (target, whether more is better)
TARGETS = {
    "step of quick against before": (1.3, True),
    "step of best against before": (1.3, True),
    "step of paper, batch 2 against before": (1.3, True),
    "step with L_d against one without": (1.2, False),
    "scene of 4096 against the bare network": (0.8, True),
    "clippan-lite --help, s": (0.2, False),
    "clippan-lite check, s": (3.0, False),
    "metrics and classical methods, tests passed": (1, True),
}

STEP = """
import contextlib, io, json, sys, time
import apart
import numpy as np
import clippan_lite as cl
from clippan_lite import checkpoints, training
name, changes = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()):
    pair = cl.make_scene(0, 512, "WV2")
    config = cl.recipe(name, **{"steps": 16, **changes})
    guide = teacher = None
    if config.needs("supervisor"):
        guide, _ = cl.adapt(pair, config=cl.AdaptConfig(steps=2), progress=False)
    if config.needs("teacher"):
        start = (pair.bands, pair.ratio, pair.convention)
        teacher = checkpoints.start(config, *start).eval()
    apart.forget_peak()
    ticks = []
    tick = lambda *_: ticks.append(time.perf_counter())
    _, history = training.train(pair, config, guide, teacher, progress=False, callbacks=[tick])
seconds = float(np.median(np.diff(ticks)[len(ticks) // 2 :]))
print(json.dumps({"seconds": seconds, "GiB": apart.peak(), "loss": history[0]["loss"]}))
"""


def steps(before: Path | None, rounds: int) -> dict[str, float]:
    """Seconds and memory of the steps, medians over the rounds, in turn with another checkout."""
    checkouts = {"": REPO} | ({" before": before} if before else {})
    found: dict[str, list[dict[str, float]]] = {}
    for turn in range(rounds):
        for name, (recipe, changes) in STEPS.items():
            for which, checkout in checkouts.items():
                row = printed(STEP, json.dumps([recipe, changes]), paths=(checkout,))
                found.setdefault(name + which, []).append(row)
        print(f"steps, round {turn + 1} of {rounds}", flush=True)
    seconds = {
        name: statistics.median(row["seconds"] for row in rows) for name, rows in found.items()
    }
    table = {f"step of {name}, s": value for name, value in seconds.items()}
    for name in STEPS:
        table[f"memory of {name}, GiB"] = max(row["GiB"] for row in found[name])
        if before:
            ratios = [
                old["seconds"] / new["seconds"]
                for old, new in zip(found[f"{name} before"], found[name], strict=True)
            ]
            table[f"step of {name} against before"] = statistics.median(ratios)
            old, new = (found[name + which][0]["loss"] for which in (" before", ""))
            table[f"first loss of {name}, relative change"] = abs(new / old - 1)
    ratio = seconds["quick"] / seconds["quick without L_d"]
    return table | {"step with L_d against one without": ratio}


def scene() -> dict[str, float]:
    """A scene on disk against the bare network on tiles in memory."""
    with tempfile.TemporaryDirectory() as folder:
        whole_scene.write_scene(Path(folder), 4096)
        bare = max(printed(whole_scene.BARE).values())
        found = printed(whole_scene.FUSE, folder, 4096, "network", 0)
    return {
        "bare network, MPix/s": bare,
        "scene of 4096, MPix/s": found["MPix/s"],
        "scene of 4096, GiB": found["peak GiB"],
        "scene of 4096 against the bare network": found["MPix/s"] / bare,
    }


def start_up() -> dict[str, float]:
    """Seconds of commands, the best of three."""
    found = {}
    for command in ("--help", "check"):
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "clippan_lite", command],
                cwd=REPO, stdout=subprocess.DEVNULL, check=True,
            )  # fmt: skip
            times.append(time.perf_counter() - begun)
        found[f"clippan-lite {command}, s"] = min(times)
    return found


def measuring() -> dict[str, float]:
    """Whether bench_measuring.py passes: metrics against sewar and torchmetrics, and more."""
    file = Path(__file__).with_name("bench_measuring.py")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "0", str(file)], check=False)
    return {"metrics and classical methods, tests passed": float(done.returncode == 0)}


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="another checkout of the repository")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help=f"keep the figures in {RECORD.name}")
    args = parser.parse_args()
    recorded = json.loads(RECORD.read_text()) if RECORD.is_file() else {"figures": {}}
    before = args.before and args.before.resolve()
    now = start_up() | measuring() | scene() | steps(before, args.rounds)
    print("\n| what | now | target | recorded |\n|---|---|---|---|")
    for name, value in now.items():
        target, more = TARGETS.get(name, (None, True))
        reached = target is None or (value >= target if more else value <= target)
        wanted = "" if target is None else f"{'at least' if more else 'at most'} {target}"
        last = recorded["figures"].get(name)
        shown = f"{value:.3g}" if reached else f"**{value:.3g}**"
        print(f"| {name} | {shown} | {wanted} | {'' if last is None else f'{last:.3g}'} |")
    if args.record:
        facts = {
            "machine": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
            "date": datetime.date.today().isoformat(),
            "figures": {name: float(f"{value:.4g}") for name, value in now.items()},
        }
        RECORD.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
