"""Speed and memory of metrics and classical methods, as ratios in one run; the targets are
asserted.

Run alone on an idle machine, about two minutes: pytest -n 0 tests/benchmarks/bench_measuring.py
The size is that of the test scene wv2_urban; the content is synthetic and does not change the work
done.
"""

import resource
import time

import apart
import numpy as np
import pytest
import sewar
import torch
from torchmetrics.functional.image import quality_with_no_reference

from clippan_lite import classical, metrics
from clippan_lite.data import synthetic
from clippan_lite.physics.degrade import upsample
from clippan_lite.physics.sensors import get

SENSOR = get("WV2")
HEIGHT, WIDTH = 832, 1280
# Half of the seconds that the independent implementations of the reference table took (one core,
# same size).
CLASSICAL = {"GSA": 0.84, "BDSD-PC": 1.56, "MTF-GLP-HPM": 2.86}


@pytest.fixture(scope="module")
def images():
    pair = synthetic.make_scene(seed=0, size=WIDTH, sensor="WV2")
    ms, pan = pair.ms[:, : HEIGHT // 4], pair.pan[:, :HEIGHT]
    return classical.gsa(ms, pan, SENSOR), ms, pan


def once(function):
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def best(benchmark, function):
    benchmark.pedantic(function, rounds=5, warmup_rounds=1)
    return benchmark.stats["min"]


def test_q2n_is_ten_times_faster_than_sewar(benchmark, images):
    fused, ms, _ = images
    exp = upsample(ms, 4).double()
    x, y = (t.permute(1, 2, 0).double().numpy() for t in (fused, exp))
    theirs = once(lambda: sewar.q2n(y, x))
    ours = best(benchmark, lambda: metrics.q2n(fused.double(), exp))
    benchmark.extra_info.update(sewar_seconds=theirs, times_faster=theirs / ours)
    print(f"\nQ2n: sewar {theirs:.2f} s, ours {ours:.3f} s, {theirs / ours:.0f} x")
    assert theirs >= 10 * ours


def test_qnr_is_twenty_times_faster_than_torchmetrics(benchmark, images):
    fused, ms, pan = images
    args = (fused[None] / 2047, ms[None] / 2047, pan[None].repeat(1, 8, 1, 1) / 2047)
    theirs = once(lambda: quality_with_no_reference(*args))
    ours = best(benchmark, lambda: metrics.qnr(fused, ms, pan, 4))
    benchmark.extra_info.update(torchmetrics_seconds=theirs, times_faster=theirs / ours)
    print(f"\nQNR: torchmetrics {theirs:.2f} s, ours {ours:.3f} s, {theirs / ours:.0f} x")
    assert theirs >= 20 * ours


def test_the_full_table_takes_one_and_a_half_seconds(benchmark, images):
    ours = best(benchmark, lambda: metrics.full(*images, SENSOR))
    print(f"\nfull table: {ours:.2f} s")
    assert ours <= 1.5


def test_the_full_table_fits_into_two_gib():
    code = (
        "import apart, torch\nfrom clippan_lite import metrics\n"
        "from clippan_lite.physics import sensors\n"
        f"fused, ms, pan = torch.rand(8, {HEIGHT}, {WIDTH}), "
        f"torch.rand(8, {HEIGHT // 4}, {WIDTH // 4}), "
        f"torch.rand(1, {HEIGHT}, {WIDTH})\nmetrics.full(fused, ms, pan, sensors.get('WV2'))\n"
        "print(apart.peak())"
    )
    gib = apart.printed(code)
    print(f"\nwhole process with the full table: {gib:.2f} GiB")
    assert gib <= 2


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_methods_take_half_of_the_reference_tables_seconds(benchmark, images, name):
    _, ms, pan = images
    ours = best(benchmark, lambda: classical.METHODS[name](ms, pan, SENSOR))
    print(f"\n{name}: {ours:.2f} s, at most {CLASSICAL[name]} s")
    assert ours <= CLASSICAL[name]


def test_cost_is_linear_up_to_8192_pixels():
    """Seconds per million pixels of the full table and of BDSD; memory beyond the images."""
    sensor = get("IKONOS")
    rows = []
    for side in (1024, 2048, 4096, 8192):
        generator = torch.Generator().manual_seed(0)
        ms = 200 + 300 * torch.rand(4, side // 4, side // 4, generator=generator)
        pan = 200 + 300 * torch.rand(1, side, side, generator=generator)
        fused = upsample(ms, 4)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        table = once(lambda fused=fused, ms=ms, pan=pan: metrics.full(fused, ms, pan, sensor))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        method = once(lambda ms=ms, pan=pan: classical.bdsd(ms, pan, sensor))
        rows.append((table / side**2 * 1e6, method / side**2 * 1e6))
        print(
            f"\n{side}: s per Mpixel: table {rows[-1][0]:.3f}, BDSD {rows[-1][1]:.3f}; "
            f"GiB: {after - before:.2f}"
        )
    # Fresh memory costs more than cached memory, which makes it 2.2; a cost quadratic in pixels
    # would make it 16.
    assert np.all(np.array(rows[-1]) <= 3 * np.array(rows[1]))
