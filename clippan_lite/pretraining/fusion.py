"""Train the bundled fusion networks on synthetic scenes, whose truth is known.

``python -m clippan_lite.pretraining.fusion`` looks at no real image. A training with
``TrainConfig(start="bundled")`` begins there; a few steps without truth adapt the network to the
scene at hand.
"""

import argparse
import time
from pathlib import Path

from clippan_lite import checkpoints, fusion, training
from clippan_lite.config import recipe
from clippan_lite.data import Pair, synthetic
from clippan_lite.experiments import statistics
from clippan_lite.metrics import evaluation

#: Sensors whose scenes a network of so many bands sees, at ratio 4. Gains, bands and bit depths
#: differ.
SENSORS = {4: ("IKONOS", "QB", "GE1", "GF2", "PLEIADES"), 8: ("WV2", "WV3")}
#: Seeds from here on are for training, and for measuring. The notebooks use smaller ones.
FIRST, HELD_OUT = 100, 1000


def scenes_of(bands: int, count: int, size: int, first: int = FIRST) -> list[Pair]:
    """Synthetic scenes of consecutive seeds, sensors in turn, noise from little to much."""
    names = SENSORS[bands]
    return [
        synthetic.make_scene(seed, size, names[seed % len(names)], snr=(60, 120, 240)[seed % 3])
        for seed in range(first, first + count)
    ]


def main() -> None:
    """Train one network and say what it is worth on scenes that it has not seen."""
    parser = argparse.ArgumentParser(description="Train a fusion network on synthetic scenes.")
    parser.add_argument("--bands", type=int, choices=sorted(SENSORS), default=4)
    parser.add_argument("--backbone", default="fusionnet")
    parser.add_argument("--scenes", type=int, default=15)
    parser.add_argument("--size", type=int, default=512, help="of a scene, PAN pixels")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("bundled_fusion"), help="weights folder")
    args = parser.parse_args()
    # The truth, and the terms that will adapt the network later: so it need not unlearn them first.
    settings = {"start": "", "stride": 1, "truth": 2.0, "reduced": 0.0}
    config = recipe("best", backbone=args.backbone, steps=args.steps, **settings)
    path = args.out / f"{args.backbone}_{args.bands}.safetensors"
    begun = time.monotonic()
    scenes, state = scenes_of(args.bands, args.scenes, args.size), path.with_suffix(".state")
    network, history = training.train(scenes, config, checkpoint=state, every=200)
    minutes = (time.monotonic() - begun) / 60
    checkpoints.save_network(path, network, config)
    checkpoints.write_history(path.with_suffix(".csv"), history)
    tables = [
        evaluation.against_truth(fusion.fuse(pair, network), pair)
        for pair in scenes_of(args.bands, 6, args.size, HELD_OUT)
    ]
    mean, spread = statistics.over_seeds(tables)
    figures = ", ".join(f"{name} {mean[name]:.4f} ± {spread[name]:.4f}" for name in mean)
    print(f"{path}: {minutes:.1f} minutes; six scenes not seen: {figures}")


if __name__ == "__main__":
    main()
