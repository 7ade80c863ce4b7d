import itertools

import pytest
import torch

from clippan_lite import data
from clippan_lite.physics.sensors import get


@pytest.mark.parametrize("seed", range(8))
def test_largest_valid_rectangle_against_trying_all(seed):
    generator = torch.Generator().manual_seed(seed)
    h, w, r = 6, 7, 4
    ms = torch.rand(4, h, w, generator=generator)
    pan = torch.rand(1, h * r, w * r, generator=generator)
    valid = torch.rand(h * r, w * r, generator=generator) > 0.015
    pair = data.Pair(ms=ms, pan=pan, sensor=get("VHR4"), valid=valid, truth=pan.repeat(4, 1, 1))
    sizes = [
        (b - t) * (e - a)
        for t, b in itertools.combinations(range(h + 1), 2)
        for a, e in itertools.combinations(range(w + 1), 2)
        if valid[t * r : b * r, a * r : e * r].all()
    ]
    part = data.largest_valid(pair)
    assert part.ms[0].numel() == max(sizes) < h * w and part.mask is None
    assert (
        part.pan.shape[1:] == (part.ms.shape[1] * r, part.ms.shape[2] * r) == part.truth.shape[1:]
    )
    places = [
        (t, a)
        for t in range(h - part.ms.shape[1] + 1)
        for a in range(w - part.ms.shape[2] + 1)
        if torch.equal(ms[:, t:, a:][:, : part.ms.shape[1], : part.ms.shape[2]], part.ms)
    ]
    ((t, a),) = places
    inside = (slice(t * r, t * r + part.pan.shape[1]), slice(a * r, a * r + part.pan.shape[2]))
    assert valid[inside].all() and torch.equal(pan[:, *inside], part.pan)


def test_a_pair_without_nodata_is_its_own_largest_part():
    pair = data.Pair(ms=torch.rand(4, 4, 4), pan=torch.rand(1, 16, 16), sensor=get("VHR4"))
    assert data.largest_valid(pair) is pair


@pytest.mark.parametrize(
    ("width", "size"), [(1280, 64), (512, 64), (320, 64), (200, 64), (256, 64), (512, 128)]
)
def test_held_out_crops_lie_behind_a_gap_and_are_whole(width, size):
    """No pixel of a held-out crop, nor the filter's reach around it, is in a training crop."""
    columns = torch.arange(width).float().expand(1, width, width) + 1
    pair = data.Pair(
        ms=columns[:, ::4, ::4].repeat(4, 1, 1).contiguous(),
        pan=columns.clone(),
        sensor=get("VHR4"),
    )
    train, held = (data.Patches(pair, size, split) for split in ("train", "held-out"))
    assert train.size == held.size == size
    seen = [
        (part.corners[:, 1].min().item(), part.corners[:, 1].max().item() + size)
        for part in (train, held)
    ]
    assert seen[0][0] == 0 and seen[0][1] + 29 <= seen[1][0] and seen[1][1] <= width


@pytest.mark.parametrize("stride", [1, 32, 100])
def test_crops_on_a_lattice_cover_the_scene_to_its_edges(small_pair, stride):
    patches = data.Patches(small_pair, 128, stride=stride)
    rows = patches.corners[:, 0].unique()
    assert rows[0] == 0 and rows[-1] == 128 and (rows % 4 == 0).all()
    assert set(rows.tolist()) == {*range(0, 129, max(stride, 4)), 128}
    batch = patches.sample(5, torch.Generator().manual_seed(0))
    for place, pan in zip(batch["place"].tolist(), batch["pan"], strict=True):
        r, c = place
        assert torch.equal(pan, (small_pair.pan / small_pair.scale)[:, r : r + 128, c : c + 128])
