"""Speed, memory and achieved FLOP/s of Stage II at the paper's batch (32 patches of 256), and what
bounds it.

Run: python tests/benchmarks/gpu_steps.py [--device cuda] [--steps 20] [--batch 32] [--patch 256]
[--json FILE] Both CLIPs: ours, and a ViT-B/32 with random weights, which cost what trained ones do.
Each in single precision, with the network in bfloat16, and with the network compiled; without L_d
beside them.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from clippan_lite import adaptation, clip, prompts, training
from clippan_lite.config import AdaptConfig, recipe
from clippan_lite.data import synthetic
from clippan_lite.runtime import devices


class Work(TorchDispatchMode):
    """FLOPs of matrix products, convolutions and attention, and the number of operations, while it
    is entered.

    FlopCounterMode counts alike, but refuses torch.autograd.grad, by which each term's gradient is
    seen.
    """

    flops, operations = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        count = flop_registry.get(function.overloadpacket)
        self.flops += count(*args, **(kwargs or {}), out_val=out) if count else 0
        self.operations += 1
        return out


def ceiling(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product: what the chip gives at best."""
    size = 8192 if device.startswith("cuda") else 1024
    a, b = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
    (a @ b).sum().item()
    begun, count = time.perf_counter(), 10
    for _ in range(count):
        c = a @ b
    c.sum().item()  # waits
    return 2 * size**3 * count / (time.perf_counter() - begun)


def measured(train, steps: int, batch: int, device: str) -> dict[str, float]:
    """Figures of one kind of training; ``train(steps, callbacks)`` runs it."""
    cuda, ticks = device.startswith("cuda"), []

    def tick(*_):
        if cuda:
            torch.cuda.synchronize()
        ticks.append(time.perf_counter())

    train(3)  # compiles, picks algorithms, fills caches
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    train(steps, [tick])
    seconds = (ticks[-1] - ticks[1]) / (len(ticks) - 2)
    if cuda:
        memory = torch.cuda.max_memory_allocated() / 2**30
    else:
        memory = (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        )  # of the process, so far
    found = {"images per second": batch / seconds, "seconds per step": seconds, "peak GiB": memory}
    if cuda:
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            begun = time.perf_counter()
            train(5)
            torch.cuda.synchronize()
            wall = time.perf_counter() - begun
        busy = sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
        found["share of time the GPU computes"] = busy / wall  # preparation of the scene included
    return found


def main() -> None:
    """Print, and keep as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device, begun = devices.pick(args.device), time.perf_counter()
    pair, sentences = synthetic.make_scene(0, 1024), prompts.get("wald")
    peaks = {
        str(kind).removeprefix("torch."): ceiling(device, kind)
        for kind in (torch.float32, torch.bfloat16)
    }
    everything = {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "CPU",
        "torch": torch.__version__,
        "batch": args.batch, "patch": args.patch, "matrix product FLOP/s": peaks,
    }  # fmt: skip
    config = recipe("paper", ship=0.0, batch=args.batch, patch=args.patch, steps=args.steps)
    torch.manual_seed(0)
    models = {
        "bundled": clip.load_clip("bundled", device=device),
        "ViT-B/32, random weights": clip.load_clip("ViT-B-32", device=device, random_weights=True),
    }
    bf16 = {"accelerator": Accelerator(cpu=device == "cpu", mixed_precision="bf16")}
    for name, model in models.items():
        few = AdaptConfig(steps=2, batch=min(args.batch, 12))
        supervisor, _ = adaptation.adapt(pair, model, sentences, few, device, progress=False)
        for kind, options in {
            "fp32": {},
            "bf16": bf16,
            "compiled": {"compiled": True},
            "without L_d": {},
        }.items():
            setting = config.changed(direction=0.0 if kind == "without L_d" else 1.0)

            def train(steps, callbacks=(), setting=setting, options=options, guide=supervisor):
                few_steps = setting.changed(steps=steps)
                every = {"device": device, "progress": False, "callbacks": callbacks, **options}
                return training.train(pair, few_steps, guide, **every)

            found = measured(train, args.steps, args.batch, device)
            if kind == "fp32":
                work = []
                for count in (2, 4):  # the difference is without the preparation
                    with Work() as seen:
                        train(count)
                    work.append(seen)
                flops = (work[1].flops - work[0].flops) / 2
                found["operations per step"] = (work[1].operations - work[0].operations) / 2
                found["FLOP/s"] = flops / found["seconds per step"]
                found["share of the ceiling"] = found["FLOP/s"] / peaks["float32"]
            everything[f"{name}, {kind}"] = found
            print(
                f"{time.perf_counter() - begun:.0f} s,",
                name,
                kind,
                {k: round(v, 4) for k, v in found.items()},
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
