"""Seconds and memory per step of both stages with ViT-B/32 at the paper's settings (batch 32), random weights.

Run: python tests/benchmarks/vit_b32_steps.py [--device cuda] [--steps 10] [--batch 32] [--json FILE]
Weights do not change what a step costs; they are random, and named as such in the output.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch

from clippan_lite import adaptation, clip, loop, prompts, scenes, training
from clippan_lite.config import AdaptConfig, TrainConfig


def timed(what: str, run, steps: int, device: str) -> dict[str, float]:
    """Seconds per step after the first two, and the peak memory of the device (or of the process on CPU)."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    times = []

    def tick(*_):
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    tick()
    run(tick)
    tick()
    # Stage I has no hook: its mean holds the first step too.
    seconds = (times[-2] - times[2]) / (len(times) - 4) if len(times) > 4 else (times[-1] - times[0]) / steps
    if device.startswith("cuda"):
        memory = torch.cuda.max_memory_allocated() / 2**30
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {seconds:.3f} s a step, peak {memory:.2f} GiB on {device}", flush=True)
    return {"seconds": seconds, "GiB": memory}


def main() -> None:
    """Print, and keep as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = loop.pick_device(args.device)
    pair, sentences = scenes.make_scene(0, 1024), prompts.get("wald")
    torch.manual_seed(0)
    model = clip.load_clip("ViT-B-32", device=device, random_weights=True)
    adapt = AdaptConfig(steps=args.steps, batch=args.batch)
    train = TrainConfig(steps=args.steps, batch=args.batch, patch=256, lr=3e-3, qnr=1.0, direction=1.0)
    kept = {}

    def stage_one(_):
        kept["supervisor"] = adaptation.adapt(pair, model, sentences, adapt, device, progress=False)[0]

    def stage_two(tick):
        training.train(pair, train, kept["supervisor"], device=device, progress=False, on_step=tick)

    def without(tick):
        training.train(
            pair, TrainConfig(**{**vars(train), "direction": 0.0}), device=device, progress=False, on_step=tick
        )

    figures = {
        "clip": model.label, "device": torch.cuda.get_device_name() if device.startswith("cuda") else "CPU",
        "torch": torch.__version__, "batch": args.batch, "patch": train.patch,
        "Stage I": timed("Stage I", stage_one, args.steps, device),
        "Stage II without L_d": timed("Stage II without L_d", without, args.steps, device),
        "Stage II with L_d": timed("Stage II with L_d", stage_two, args.steps, device),
    }  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
