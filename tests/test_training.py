import json
import time

import pytest
import torch

from clippan_lite import backbones, data, degrade, evaluation, prompts, training
from clippan_lite.config import AdaptConfig, TrainConfig, digest
from clippan_lite.scenes import make_scene

QUICK = TrainConfig(steps=12, batch=2, patch=64, direction=0.0, qnr=0.0)


def test_training_beats_interpolation_against_the_truth(small_pair):
    config = TrainConfig(steps=60, batch=2, patch=64, direction=0.0, qnr=0.0)
    network, history = training.train(small_pair, config, progress=False)
    assert history[-1]["loss"] < history[0]["loss"]
    ours = evaluation.against_truth(training.fuse(network, small_pair), small_pair)
    exp = evaluation.against_truth(degrade.upsample(small_pair.ms, 4), small_pair)
    assert ours["ERGAS"] < 0.95 * exp["ERGAS"]
    assert ours["PSNR"] > exp["PSNR"] + 0.3


def test_progress_is_drawn_at_most_once_a_second(small_pair, capsys):
    """More often, a notebook's cell sends more messages than its clients keep, and nbval waits for the lost ones."""
    begun = time.monotonic()
    training.train(small_pair, TrainConfig(steps=40, batch=1, patch=64, direction=0.0, qnr=0.0))
    seconds = time.monotonic() - begun
    drawn = capsys.readouterr().err.count("\r")
    assert 1 <= drawn <= seconds + 3


def test_same_seed_same_network_other_seed_another(small_pair):
    one, two, other = (
        training.train(small_pair, TrainConfig(steps=3, batch=1, patch=64, direction=0.0, seed=s), progress=False)[0]
        for s in (0, 0, 1)
    )
    weights = [torch.cat([p.flatten() for p in n.parameters()]) for n in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_fuse_refuses_another_sensor_and_keeps_nodata(small_pair):
    network = backbones.create("fusionnet", 4)
    with pytest.raises(ValueError, match="the network takes 4 bands"):
        training.fuse(network, small_pair)
    holed = data.replace(small_pair, valid=torch.ones(256, 256, dtype=torch.bool))
    holed.valid[:64] = False
    fused = training.fuse(backbones.create("fusionnet", 8), holed)
    assert fused[:, :64].abs().max() == 0
    assert fused[:, 64:].min() >= 0


def test_mixed_examples_show_three_methods_and_reduced_ones_true_ms(small_pair):
    mixed = training.hrms_examples(small_pair)
    assert [name.split(" ", 1)[1] for name in mixed] == ["BDSD", "GSA", "MTF-GLP-HPM"]
    patches = data.Patches(small_pair, 64, extra=mixed)
    generator = torch.Generator().manual_seed(0)
    batch = patches.sample(24, generator)
    views = training.stage_one_views(batch, generator)
    origin = [next(n for n in mixed if torch.equal(views["hrms"][i], batch[n][i])) for i in range(24)]
    assert set(origin) == set(mixed)
    reduced = data.reduced(data.replace(small_pair, truth=None))
    assert torch.equal(training.hrms_examples(reduced, "reduced")["hrms"], small_pair.ms)
    with pytest.raises(ValueError, match="needs a pair with truth"):
        training.hrms_examples(data.replace(small_pair, truth=None), "reduced")
    with pytest.raises(ValueError, match="unknown HRMS examples 'EXP': expected one of mixed, reduced, Brovey"):
        training.hrms_examples(small_pair, "EXP")


def test_stage_one_runs_one_scale_down_on_true_ms(random_clip):
    config = AdaptConfig(steps=2, batch=2, examples="reduced")
    pair = make_scene(seed=4, size=512, sensor="WV2")
    supervisor, history = training.adapt(pair, random_clip, prompts.get("wald"), config, progress=False)
    assert len(history) == 2 and not supervisor.training


def test_terms_that_need_more_are_refused(small_pair):
    with pytest.raises(ValueError, match="needs a supervisor"):
        training.train(small_pair, TrainConfig(direction=0.1))
    with pytest.raises(ValueError, match="needs a teacher"):
        training.train(small_pair, TrainConfig(direction=0.0, ship=1.0))


def test_a_term_that_is_not_a_number_is_named(small_pair):
    config = TrainConfig(steps=5, batch=1, patch=64, lr=1e25, direction=0.0, spat=0.0, qnr=0.0)
    with pytest.raises(FloatingPointError, match=r"'spec' became .* at step"):
        training.train(small_pair, config, progress=False)


def test_pixels_that_are_no_numbers_are_refused(small_pair):
    broken = data.replace(small_pair, ms=small_pair.ms * float("nan"))
    with pytest.raises(ValueError, match="holds NaN or infinite pixels"):
        training.train(broken, QUICK, progress=False)


def test_teacher_pulls_the_output(small_pair):
    class Brighter(torch.nn.Module):
        bands, ratio, convention, reach = 8, 4, "benchmark", 0

        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(1.2))

        def forward(self, ms, pan):
            return degrade.upsample(ms, 4) * self.gain

    config = TrainConfig(steps=10, batch=2, patch=64, spec=0.0, spat=0.0, qnr=0.0, direction=0.0, ship=1.0)
    _, history = training.train(small_pair, config, teacher=Brighter(), progress=False)
    assert history[-1]["ship"] < 0.7 * history[0]["ship"]


def test_adapt_lowers_its_losses_and_survives_saving(random_clip, small_pair, tmp_path):
    config = AdaptConfig(steps=15, batch=4)
    supervisor, history = training.adapt(small_pair, random_clip, prompts.get("wald"), config, progress=False)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert set(history[0]) == {"step", "loss", "inter", "intra", "fusion", "direction", "drift"}
    training.save_supervisor(tmp_path / "s.safetensors", supervisor, config, "WV2")
    again = training.load_supervisor(tmp_path / "s.safetensors", random_clip)
    view = torch.rand(2, 8, 64, 64)
    assert torch.equal(supervisor.encode("hrms", view), again.encode("hrms", view))
    assert json.loads((tmp_path / "s.json").read_text())["config"]["steps"] == 15
    facts = json.loads((tmp_path / "s.json").read_text()) | {"clip": "another"}
    (tmp_path / "s.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="adapted around another"):
        training.load_supervisor(tmp_path / "s.safetensors", random_clip)


def test_network_checkpoint_roundtrip(small_pair, tmp_path):
    network, history = training.train(small_pair, QUICK, progress=False)
    training.save_network(tmp_path / "n.safetensors", network, QUICK)
    training.write_history(tmp_path / "n.csv", history)
    again = training.load_network(tmp_path / "n.safetensors")
    assert torch.equal(training.fuse(network, small_pair), training.fuse(again, small_pair))
    assert len((tmp_path / "n.csv").read_text().splitlines()) == QUICK.steps + 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.csv", "n.json", "n.safetensors"]
    with pytest.raises(FileNotFoundError, match="train first"):
        training.load_network(tmp_path / "missing.safetensors")


def test_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU is found"):
        training.pick_device("cuda")
    assert training.pick_device("auto") == "cpu"


def test_digest_sees_every_field():
    assert digest(AdaptConfig()) != digest(AdaptConfig(temperature=0.08))
    assert digest(TrainConfig()) == digest(TrainConfig())


def test_reduced_pair_follows_wald(small_pair):
    low = data.reduced(small_pair)
    assert low.ms.shape == (8, 16, 16)
    assert low.pan.shape == (1, 64, 64)
    assert torch.equal(low.truth, small_pair.ms)


def test_patches_agree_across_images_and_avoid_nodata():
    pair = make_scene(seed=1, size=256, sensor="IKONOS")
    valid = torch.ones(256, 256, dtype=torch.bool)
    valid[:, 100:140] = False
    position = torch.arange(256.0)[None, None] * pair.scale * torch.ones(1, 256, 1)
    patches = data.Patches(data.replace(pair, valid=valid), 64, extra={"column": position})
    batch = patches.sample(40, torch.Generator().manual_seed(0))
    columns = batch["column"] * patches.pair.scale / pair.scale
    assert not ((columns >= 100) & (columns < 140)).any()
    assert batch["ms"].shape == (40, 4, 16, 16)
    first = columns[:, 0, 0, 0].long()
    row_of = (batch["pan"][0, 0] * patches.pair.scale).round()
    top = [r for r in range(0, 193, 4) if torch.allclose(pair.pan[0, r : r + 64, first[0] : first[0] + 64], row_of)]
    assert top, "PAN crop is not where the column says"
    low = pair.ms[:, top[0] // 4 : top[0] // 4 + 16, first[0] // 4 : first[0] // 4 + 16]
    torch.testing.assert_close(batch["ms"][0] * patches.pair.scale, low, atol=1e-2, rtol=1e-5)
    with pytest.raises(ValueError, match="holds nodata only"):
        data.Patches(data.replace(pair, valid=torch.zeros(256, 256, dtype=torch.bool)), 64)


def test_patches_shrink_out_loud_between_holes(capsys):
    pair = make_scene(seed=1, size=256, sensor="IKONOS")
    valid = torch.ones(256, 256, dtype=torch.bool)
    valid[::64] = False
    patches = data.Patches(data.replace(pair, valid=valid), 128)
    assert patches.size == 32 and "cut down to 32 PAN pixels" in capsys.readouterr().out


def test_no_patch_between_holes_is_refused():
    pair = make_scene(seed=1, size=256, sensor="IKONOS")
    valid = torch.ones(256, 256, dtype=torch.bool)
    valid[::16] = False
    with pytest.raises(ValueError, match="free of nodata"):
        data.Patches(data.replace(pair, valid=valid), 128)


def test_splits_do_not_overlap():
    pair = make_scene(seed=1, size=256, sensor="IKONOS")
    train, held = data.Patches(pair, 64, "train"), data.Patches(pair, 64, "held-out")
    assert int(train.corners[:, 1].max()) + train.size <= int(held.corners[:, 1].min()) - 32
