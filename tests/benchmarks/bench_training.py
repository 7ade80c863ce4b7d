"""What a training step costs, as ratios in one run; the targets are asserted.

Run alone on an idle machine, about three minutes: pytest -n 0 -s tests/benchmarks/bench_training.py
Ratios are those of the embedded scene, seconds those of one as large as the test scene wv2_urban;
the content is synthetic and does not change the work done.
"""

import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from clippan_lite import adaptation, backbones, clip, fusion, losses, prompts, training
from clippan_lite.backbones import costs
from clippan_lite.config import AdaptConfig, TrainConfig
from clippan_lite.data import synthetic

HEIGHT, WIDTH = 832, 1280
ROUNDS = 5


@pytest.fixture(scope="module")
def pair():
    whole = synthetic.make_scene(seed=0, size=WIDTH, sensor="WV2")
    ms, pan = whole.ms[:, : HEIGHT // 4], whole.pan[:, :HEIGHT]
    return dataclasses.replace(whole, ms=ms, pan=pan, truth=None)


@pytest.fixture(scope="module")
def supervisor(pair):
    return adaptation.adapt(
        pair, clip.load_clip(), prompts.get("wald"), AdaptConfig(steps=2), progress=False
    )[0]


def seconds_per_step(pair, config, supervisor=None):
    """Median over the second half of the steps, by when most places have been met."""
    ticks = []
    training.train(
        pair,
        config,
        supervisor,
        progress=False,
        callbacks=[lambda *_: ticks.append(time.perf_counter())],
    )
    return float(np.median(np.diff(ticks)[len(ticks) // 2 :]))


def naive_direction(fused, batch):
    """Texts, MS, PAN and all crops of the output encoded in every step."""
    supervisor = batch.guide.supervisor
    with torch.no_grad():
        supervisor.clip._texts.clear()
        guide = losses.Guide.of(supervisor)
    images = {"hrms": fused, "ms": batch.exp, "pan": batch.pan}
    tiles = {kind: supervisor.tiles(image) for kind, image in images.items()}
    features = {kind: supervisor.encode(kind, crops) for kind, crops in tiles.items()}
    return losses.direction_of_features(features, guide)


def test_l_d_costs_a_third_of_a_step_at_most(supervisor, monkeypatch):
    embedded, term = synthetic.make_scene(0, 512), losses.TERMS["direction"]
    naive_term = dataclasses.replace(term, function=naive_direction)
    kinds = {"plain": (0.0, term), "ours": (0.03, term), "naive": (0.03, naive_term)}
    seconds = {name: [] for name in kinds}
    for _ in range(ROUNDS):  # in turn: this machine's speed drifts by a fifth within minutes
        for name, (weight, tried) in kinds.items():
            monkeypatch.setitem(losses.TERMS, "direction", tried)
            config = TrainConfig().changed(direction=weight)
            seconds[name].append(seconds_per_step(embedded, config, supervisor))
    plain, ours, naive = (float(np.median(seconds[name])) for name in kinds)
    print(
        f"\nstep without L_d {plain:.3f} s, with it {ours:.3f} s "
        f"({ours / plain:.2f} x), naive {naive:.3f} s"
    )
    print(
        f"L_d itself {(naive - plain) / (ours - plain):.1f} x faster than naive, "
        f"the step {naive / ours:.1f} x"
    )
    print({name: [round(one, 3) for one in all_of_them] for name, all_of_them in seconds.items()})
    assert ours <= 1.3 * plain
    assert naive - plain >= 3 * (ours - plain)


@pytest.mark.parametrize("name", backbones.REGISTRY)
def test_a_scene_is_fused_in_six_seconds(name, pair):
    network = backbones.create(name, pair.bands)
    begun = time.perf_counter()
    fusion.fuse(pair, network)
    seconds, cost = time.perf_counter() - begun, costs.cost(network)
    kmac = cost["MAC per PAN pixel"] / 1000
    print(
        f"\n{name}: {cost['parameters']} parameters, {kmac:.0f} kMAC per PAN pixel, {seconds:.2f} s"
    )
    assert seconds <= (6 if name == TrainConfig().backbone else 60)


def test_adapting_to_a_scene_takes_a_second_per_step_and_two_gib():
    # In a process of its own, for its memory. Not ru_maxrss: a child inherits its parent's.
    code = f"""
import time
import clippan_lite as cl
from clippan_lite.data.pair import crop
whole = cl.make_scene(0, {WIDTH}, "WV2")
pair = crop(whole, slice(0, {HEIGHT} // 4), slice(0, {WIDTH} // 4))  # MS pixels
pair.ms, pair.pan, pair.truth = pair.ms.clone(), pair.pan.clone(), None
del whole
open("/proc/self/clear_refs", "w").write("5")
guide, _ = cl.adapt(pair, config=cl.AdaptConfig(steps=2), progress=False)
begun = time.perf_counter()
network, _ = cl.train(pair, cl.TrainConfig(steps=30), guide, progress=False)
seconds = (time.perf_counter() - begun) / 30
cl.fuse(pair, network)
status = open("/proc/self/status")
print(seconds, next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, kib = map(float, done.stdout.split()[-2:])
    print(f"\n{seconds:.2f} s per step, whole process {kib / 2**20:.2f} GiB")
    assert seconds <= 1 and kib / 2**20 <= 2
