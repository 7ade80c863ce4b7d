"""Train the bundled fusion network where the truth is known.

``python -m clippan_lite.pretraining.fusion --real FOLDER ...`` made the included weights. Half of
what the network sees is synthetic. The other half has the texture of real ground: the MS of real
pairs (public-domain Landsat-7 scenes) serves as the truth of pairs made from it. The cameras vary,
so that the network does not rely on an MTF, a registration or a noise that it will not meet.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from clippan_lite import backbones, checkpoints, classical
from clippan_lite.backbones import Fusion
from clippan_lite.config import recipe
from clippan_lite.data import Pair, synthetic
from clippan_lite.physics import degrade, sensors
from clippan_lite.physics.back_projection import back_project
from clippan_lite.runtime import devices, files

#: Cameras of the synthetic scenes. Gains, bands and bit depths differ.
SENSORS = ("IKONOS", "QB", "GE1", "GF2", "PLEIADES", "WV2", "WV3", "LANDSAT7")
#: Seeds from here on are for training, and for measuring. The notebooks use smaller ones.
FIRST, HELD_OUT = 100, 1000
CROP, EDGE = 112, 12  # PAN pixels: side of a crop, and the frame that the loss leaves out
Example = tuple[Pair, torch.Tensor]  # a pair with truth, and its classical results


def varied(seed: int, size: int = 256) -> Pair:
    """A synthetic scene whose camera is not quite the one that processing believes in.

    MTF gains are up to 30 % off on half of the seeds. MS lies up to 2 PAN pixels off PAN on a third
    of them. Noise and haze vary.
    """
    draw = random.Random(seed)
    sensor = sensors.get(SENSORS[seed % len(SENSORS)])
    camera, shift = sensor, (0.0, 0.0)
    if draw.random() < 0.5:
        camera = with_other_gains(sensor, draw)
    if draw.random() < 0.35:
        far = draw.choice((0.3, 0.6, 1.0, 2.0))
        shift = draw.uniform(-far, far), draw.uniform(-far, far)
    snr, haze = draw.choice((40, 80, 160, 320)), draw.choice((0.0, 0.0, 0.0, 0.15))
    scene = synthetic.make_scene(seed, size, camera, snr=snr, haze=haze, shift=shift)
    return replace(scene, sensor=sensor)


def with_other_gains(sensor: sensors.Sensor, draw: random.Random) -> sensors.Sensor:
    """The sensor with MTF gains up to 30 % off, each band a little more."""
    common = draw.uniform(0.7, 1.3)
    gains = tuple(
        min(max(gain * common * draw.uniform(0.9, 1.1), 0.05), 0.6) for gain in sensor.mtf_ms
    )
    return replace(sensor, mtf_ms=gains)


def with_real_texture(pair: Pair, ratio: int, seed: int) -> Pair:
    """A pair whose truth is the MS of a real pair, turned and mirrored.

    PAN is degraded to MS's grid. MS is degraded by ``ratio``, with other gains than the sensor's on
    half of the seeds, and with noise.
    """
    draw = random.Random(seed)
    height, width = (side // 32 * 32 for side in pair.ms.shape[1:])
    pan = degrade.degrade(pair.pan, pair.sensor.mtf_pan, pair.ratio, pair.convention)
    both = torch.cat([pair.ms, pan])[:, :height, :width]
    both = torch.rot90(both, draw.randrange(4), (1, 2))
    both = both.flip(2) if draw.random() < 0.5 else both
    truth, pan = both[:-1], both[-1:]
    sensor = replace(pair.sensor, ratio=ratio)
    camera = with_other_gains(sensor, draw) if draw.random() < 0.5 else sensor
    ms = degrade.degrade(truth, camera.mtf_ms, ratio)
    noise = torch.Generator().manual_seed(seed)
    deviation = ms.mean() / draw.choice((80, 160, 320))
    ms = ms + deviation * torch.randn(ms.shape, generator=noise)
    name = f"{pair.name}_{ratio}_{seed}"
    return replace(pair, ms=ms, pan=pan, truth=truth, sensor=sensor, valid=None, name=name)


def prepared(pair: Pair) -> Example:
    """A pair with the classical results that the network mends."""
    torch.set_num_threads(1)
    return pair, classical.results(backbones.find("bandwise").methods, pair)


def examples_of(real: Sequence[Pair], synthetic_scenes: int, variants: int) -> list[Example]:
    """What the network is trained on: synthetic scenes, and variants of real ones."""
    scenes = [
        with_real_texture(pair, (4, 4, 2)[seed % 3], seed)
        for pair in real
        for seed in range(variants)
    ]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        made = pool.map(varied, range(FIRST, FIRST + synthetic_scenes))
        return list(pool.map(prepared, [*scenes, *made]))


def batches(
    examples: Sequence[Example], count: int, device: str, seed: int
) -> Iterator[tuple[Pair, list[torch.Tensor]]]:
    """Random crops of one example after the other, scaled: MS, PAN, classical results, truth."""
    draw = random.Random(seed)
    images = [
        [x.to(device) / pair.scale for x in (pair.ms, pair.pan, results, pair.truth)]
        for pair, results in examples
        if pair.truth is not None
    ]
    while True:
        index = draw.randrange(len(examples))
        pair, ratio = examples[index][0], examples[index][0].ratio
        side = CROP // ratio
        places = [
            [draw.randrange(length - side + 1) for length in pair.ms.shape[1:]]
            for _ in range(count)
        ]
        crops = []
        for image in images[index]:
            step = image.shape[-1] // pair.ms.shape[-1]
            crops.append(
                torch.stack(
                    [
                        image[:, r * step : (r + side) * step, c * step : (c + side) * step]
                        for r, c in places
                    ]
                )
            )
        yield pair, crops


def train(
    examples: Sequence[Example],
    network: Fusion,
    steps: int,
    count: int,
    lr: float,
    device: str,
    seconds: float = float("inf"),
) -> Fusion:
    """Train on the truth: the error as a share of what back-projection alone leaves.

    The share makes all scenes count alike, whatever their contrast and difficulty.

    Args:
        examples: pairs with truth, and their classical results.
        network: any network that mends classical results.
        steps: at most so many.
        count: crops in a batch, all of one example.
        lr: Adam's peak learning rate; it falls to 0 with the steps, or with the seconds.
        device: where to train.
        seconds: stop after so many.
    """
    network.to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr)
    begun, inner = time.monotonic(), (..., slice(EDGE, -EDGE), slice(EDGE, -EDGE))
    bar = tqdm(batches(examples, count, device, seed=0), "pretraining", steps, mininterval=5)
    for step, (pair, (ms, pan, results, truth)) in enumerate(bar):
        done = max(step / steps, (time.monotonic() - begun) / seconds)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 100) * (1 - done)
        network.bands, network.ratio = pair.bands, pair.ratio  # it takes any
        with torch.no_grad():
            mean = results.unflatten(1, (len(network.methods), -1)).mean(1)
            start = back_project(mean, ms, pair.sensor, rounds=network.rounds)
            before = (start - truth)[inner].square().mean((2, 3))
        error = (network(ms, pan, pair.sensor, results) - truth)[inner].square().mean((2, 3))
        loss = (error / (before + 1e-7)).sqrt().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 0:
            bar.set_postfix(loss=f"{float(loss):.3f}")
    return network.to("cpu").eval()


def main() -> None:
    """Train the network that ships with the package."""
    parser = argparse.ArgumentParser(description="Train the bundled fusion network.")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="folders of real pairs")
    parser.add_argument("--scenes", type=int, default=160, help="synthetic scenes")
    parser.add_argument("--variants", type=int, default=6, help="of each real pair")
    parser.add_argument("--steps", type=int, default=15000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("bundled_fusion"), help="weights folder")
    args = parser.parse_args()
    from clippan_lite.data.geotiff import read_scene

    config = recipe("quick", backbone="bandwise", steps=args.steps, batch=args.batch, lr=args.lr)
    examples = examples_of([read_scene(path) for path in args.real], args.scenes, args.variants)
    torch.manual_seed(0)
    network = backbones.create("bandwise", 4)
    device = devices.pick(args.device)
    train(examples, network, args.steps, args.batch, args.lr, device)
    path = args.out / "bandwise.safetensors"
    checkpoints.save_network(path, network, config)
    facts = {"real": [path.name for path in args.real], "scenes": args.scenes}
    files.write_json(args.out / "bandwise_made.json", facts | {"variants": args.variants})
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
