import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy
import pytest
import safetensors.torch
import torch

from clippan_lite import adaptation, backbones, checkpoints, data, fusion, losses, prompts, training
from clippan_lite.backbones.fusionnet import FusionNet
from clippan_lite.config import AdaptConfig, TrainConfig, digest, recipe
from clippan_lite.data.synthetic import make_scene
from clippan_lite.experiments import probes
from clippan_lite.metrics import evaluation
from clippan_lite.physics import degrade
from clippan_lite.runtime import devices

QUICK = TrainConfig(steps=12, batch=2, patch=64, direction=0.0, qnr=0.0)


def test_training_beats_interpolation_against_the_truth(small_pair):
    config = TrainConfig(steps=60, batch=2, patch=64, direction=0.0, qnr=0.0)
    network, history = training.train(small_pair, config, progress=False)
    assert history[-1]["loss"] < history[0]["loss"]
    ours = evaluation.against_truth(fusion.fuse(small_pair, network), small_pair)
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
        training.train(
            small_pair,
            TrainConfig(steps=3, batch=1, patch=64, direction=0.0, seed=s),
            progress=False,
        )[0]
        for s in (0, 0, 1)
    )
    weights = [torch.cat([p.flatten() for p in n.parameters()]) for n in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_fuse_refuses_another_sensor_and_keeps_nodata(small_pair):
    network = backbones.create("fusionnet", 4)
    with pytest.raises(ValueError, match="the network takes 4 bands"):
        fusion.fuse(small_pair, network)
    holed = dataclasses.replace(small_pair, valid=torch.ones(256, 256, dtype=torch.bool))
    holed.valid[:64] = False
    fused = fusion.fuse(holed, backbones.create("fusionnet", 8))
    assert fused[:, :64].abs().max() == 0
    assert fused[:, 64:].min() >= 0


def test_mixed_examples_show_three_methods_and_reduced_ones_true_ms(small_pair):
    mixed = adaptation.hrms_examples(small_pair)
    assert [name.split(" ", 1)[1] for name in mixed] == ["BDSD", "GSA", "MTF-GLP-HPM"]
    patches = data.Patches(small_pair, 64, extra=mixed)
    generator = torch.Generator().manual_seed(0)
    batch = patches.sample(24, generator)
    views = adaptation.stage_one_views(batch, generator)
    origin = [
        next(n for n in mixed if torch.equal(views["hrms"][i], batch[n][i])) for i in range(24)
    ]
    assert set(origin) == set(mixed)
    reduced = data.reduced(dataclasses.replace(small_pair, truth=None))
    assert torch.equal(adaptation.hrms_examples(reduced, "reduced")["hrms"], small_pair.ms)
    with pytest.raises(ValueError, match="needs a pair with truth"):
        adaptation.hrms_examples(dataclasses.replace(small_pair, truth=None), "reduced")
    with pytest.raises(
        ValueError, match="unknown HRMS examples 'EXP': expected one of mixed, reduced, Brovey"
    ):
        adaptation.hrms_examples(small_pair, "EXP")


def test_stage_one_runs_one_scale_down_on_true_ms(random_clip):
    config = AdaptConfig(steps=2, batch=2, examples="reduced")
    pair = make_scene(seed=4, size=512, sensor="WV2")
    supervisor, history = adaptation.adapt(
        pair, random_clip, prompts.get("wald"), config, progress=False
    )
    assert len(history) == 2 and not supervisor.training


def test_a_term_that_needs_more_is_refused(small_pair):
    with pytest.raises(ValueError, match="needs a supervisor"):
        training.train(small_pair, TrainConfig(direction=0.1))


def test_a_term_that_is_not_a_number_is_named(small_pair):
    config = TrainConfig(steps=5, batch=1, patch=64, lr=1e25, direction=0.0, spat=0.0, qnr=0.0)
    with pytest.raises(FloatingPointError, match=r"'spec' became .* at step"):
        training.train(small_pair, config, progress=False)


def test_pixels_that_are_no_numbers_are_refused(small_pair):
    broken = dataclasses.replace(small_pair, ms=small_pair.ms * float("nan"))
    with pytest.raises(ValueError, match="holds NaN or infinite pixels"):
        training.train(broken, QUICK, progress=False)


def test_teacher_pulls_the_output(small_pair):
    class Brighter(backbones.Fusion):
        reach = 0

        def __init__(self):
            super().__init__(8, 4, "benchmark")
            self.gain = torch.nn.Parameter(torch.tensor(1.2))

        def residual(self, exp, pan):
            return exp * (self.gain - 1)

    config = TrainConfig(
        steps=30, batch=2, patch=64, spec=0.0, spat=0.0, qnr=0.0, direction=0.0, ship=1.0
    )
    network, _ = training.train(small_pair, config, teacher=Brighter(), progress=False)
    exp = degrade.upsample(small_pair.ms, 4)
    far, near = (
        (image - 1.2 * exp).abs().mean() for image in (exp, fusion.fuse(small_pair, network))
    )
    assert near < 0.7 * far


def test_adapt_lowers_its_losses_and_survives_saving(random_clip, small_pair, tmp_path):
    config = AdaptConfig(steps=15, batch=4)
    supervisor, history = adaptation.adapt(
        small_pair, random_clip, prompts.get("wald"), config, progress=False
    )
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert set(history[0]) == {"step", "loss", "inter", "intra", "fusion", "direction", "drift"}
    checkpoints.save_supervisor(tmp_path / "s.safetensors", supervisor, config, "WV2")
    again = checkpoints.load_supervisor(tmp_path / "s.safetensors", random_clip)
    view = torch.rand(2, 8, 64, 64)
    assert torch.equal(supervisor.encode("hrms", view), again.encode("hrms", view))
    assert json.loads((tmp_path / "s.json").read_text())["config"]["steps"] == 15
    facts = json.loads((tmp_path / "s.json").read_text()) | {"clip": "another"}
    (tmp_path / "s.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="adapted around another"):
        checkpoints.load_supervisor(tmp_path / "s.safetensors", random_clip)


def test_network_checkpoint_roundtrip(small_pair, tmp_path):
    network, history = training.train(small_pair, QUICK, progress=False)
    checkpoints.save_network(tmp_path / "n.safetensors", network, QUICK)
    checkpoints.write_history(tmp_path / "n.csv", history)
    again = checkpoints.load_network(tmp_path / "n.safetensors")
    assert torch.equal(fusion.fuse(small_pair, network), fusion.fuse(small_pair, again))
    assert len((tmp_path / "n.csv").read_text().splitlines()) == QUICK.steps + 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.csv", "n.json", "n.safetensors"]
    with pytest.raises(FileNotFoundError, match="train first"):
        checkpoints.load_network(tmp_path / "missing.safetensors")


def test_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU is found"):
        devices.pick("cuda")
    assert devices.pick("auto") == "cpu"


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
    patches = data.Patches(dataclasses.replace(pair, valid=valid), 64, extra={"column": position})
    batch = patches.sample(40, torch.Generator().manual_seed(0))
    columns = batch["column"] * patches.pair.scale / pair.scale
    assert not ((columns >= 100) & (columns < 140)).any()
    assert batch["ms"].shape == (40, 4, 16, 16)
    first = columns[:, 0, 0, 0].long()
    row_of = (batch["pan"][0, 0] * patches.pair.scale).round()
    top = [
        r
        for r in range(0, 193, 4)
        if torch.allclose(pair.pan[0, r : r + 64, first[0] : first[0] + 64], row_of)
    ]
    assert top, "PAN crop is not where the column says"
    low = pair.ms[:, top[0] // 4 : top[0] // 4 + 16, first[0] // 4 : first[0] // 4 + 16]
    torch.testing.assert_close(batch["ms"][0] * patches.pair.scale, low, atol=1e-2, rtol=1e-5)
    with pytest.raises(ValueError, match="holds nodata only"):
        data.Patches(dataclasses.replace(pair, valid=torch.zeros(256, 256, dtype=torch.bool)), 64)


def test_patches_shrink_out_loud_between_holes(capsys):
    pair = make_scene(seed=1, size=256, sensor="IKONOS")
    valid = torch.ones(256, 256, dtype=torch.bool)
    valid[::64] = False
    patches = data.Patches(dataclasses.replace(pair, valid=valid), 128)
    assert patches.size == 32 and "cut down to 32 PAN pixels" in capsys.readouterr().out


def test_no_patch_between_holes_is_refused():
    pair = make_scene(seed=1, size=256, sensor="IKONOS")
    valid = torch.ones(256, 256, dtype=torch.bool)
    valid[::16] = False
    with pytest.raises(ValueError, match="free of nodata"):
        data.Patches(dataclasses.replace(pair, valid=valid), 128)


def test_splits_do_not_overlap():
    pair = make_scene(seed=1, size=256, sensor="IKONOS")
    train, held = data.Patches(pair, 64, "train"), data.Patches(pair, 64, "held-out")
    assert int(train.corners[:, 1].max()) + train.size <= int(held.corners[:, 1].min()) - 32


# ---------------------------------------------------------------- stop, go on, share


def flat(network):
    return torch.cat([p.flatten() for p in network.parameters()])


def test_interrupted_training_goes_on_to_the_very_same_weights(small_pair, tmp_path):
    config, state = (
        TrainConfig(steps=6, batch=2, patch=64, direction=0.0),
        tmp_path / "state.safetensors",
    )
    whole, rows = training.train(small_pair, config, progress=False)

    def press_stop(step, *_):
        if step == 2:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 3 of 6"):
        training.train(small_pair, config, progress=False, on_step=press_stop, checkpoint=state)
    assert signal.getsignal(signal.SIGINT) is before
    steps = []
    again, rows_again = training.train(
        small_pair,
        config,
        progress=False,
        checkpoint=state,
        on_step=lambda step, *_: steps.append(step),
    )
    assert steps == [3, 4, 5]
    assert torch.equal(flat(whole), flat(again))
    with pytest.raises(KeyboardInterrupt, match="stopped after step 2 of 6"):
        training.train(
            small_pair,
            config,
            progress=False,
            checkpoint=state,
            on_step=lambda step, _, row: row["loss"] > 0 < step,
        )
    again, rows_again = training.train(small_pair, config, progress=False, checkpoint=state)
    assert rows == rows_again
    assert not state.exists()


def test_going_on_with_l_d_and_without_l_spat(small_pair, random_clip, tmp_path):
    """Features are encoded anew, in other batches; phi has no gradient and no moments."""
    supervisor, _ = adaptation.adapt(
        small_pair, random_clip, prompts.get("wald"), AdaptConfig(steps=2), progress=False
    )
    config, state = (
        TrainConfig(steps=6, batch=2, patch=64, spat=0.0),
        tmp_path / "state.safetensors",
    )
    whole, _ = training.train(small_pair, config, supervisor, progress=False)
    with pytest.raises(KeyboardInterrupt):
        training.train(
            small_pair, config, supervisor, progress=False, checkpoint=str(state), every=2,
            on_step=lambda step, *_: step == 3 and signal.raise_signal(signal.SIGINT),
        )  # fmt: skip
    again, rows = training.train(small_pair, config, supervisor, progress=False, checkpoint=state)
    assert len(rows) == 6
    torch.testing.assert_close(flat(again), flat(whole), atol=1e-5, rtol=1e-4)


def test_a_state_of_another_training_is_refused(small_pair, tmp_path):
    state = tmp_path / "state.safetensors"
    config = TrainConfig(steps=4, batch=2, patch=64, direction=0.0, qnr=0.0)

    def train(pair=small_pair, config=config, on_step=None):
        return training.train(
            pair, config, progress=False, checkpoint=state, every=1, on_step=on_step
        )

    with pytest.raises(KeyboardInterrupt):
        train(on_step=lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(ValueError, match=r"is of other settings \(config\)"):
        train(config=dataclasses.replace(config, lr=1e-3))
    with pytest.raises(ValueError, match=r"is of other settings \(data\)"):
        train(pair=dataclasses.replace(small_pair, ms=small_pair.ms + 1))
    with pytest.raises(ValueError, match=r"is of other settings \(scenes\)"):
        train(pair=dataclasses.replace(small_pair, convention="geo"))
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ValueError, match="holds no state of a training"):
        train()


def test_full_disk_leaves_the_state_before(small_pair, tmp_path, monkeypatch):
    state, config = (
        tmp_path / "state.safetensors",
        TrainConfig(steps=3, batch=1, patch=64, direction=0.0, qnr=0.0),
    )
    write, calls = safetensors.torch.save_file, []

    def full(tensors, path, *more):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(tensors, path, *more)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(
        OSError,
        match=r"after step 2 could not be written to .*No space left.*the one before it is kept",
    ):
        training.train(small_pair, config, progress=False, checkpoint=state, every=1)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]
    _, history = training.train(small_pair, config, progress=False, checkpoint=state)
    assert len(history) == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"spec": 0.0, "spat": 0.0}, "all weights are 0"),
        ({"stride": 0}, "stride must be at least 1, found 0"),
        ({"crops_in_turn": 0}, "crops_in_turn must be at least 1, found 0"),
        ({"patch": 32}, "patches of 32 PAN pixels at ratio 4: expected at least 44"),
    ],
)
def test_settings_that_cannot_be_are_one_line(small_pair, setting, message):
    with pytest.raises(ValueError, match=message):
        training.train(small_pair, dataclasses.replace(QUICK, **setting), progress=False)


def test_gradients_are_those_of_the_weighted_sum(small_pair, monkeypatch):
    """All terms with weights of their own, against one backward pass."""
    weights = {"spec": 2.0, "spat": 0.5, "qnr": 0.1, "ship": 3.0}
    patches = data.Patches(
        small_pair, 64, extra={"teacher": degrade.upsample(small_pair.ms, 4) * 1.1}
    )
    batch = patches.sample(2, torch.Generator().manual_seed(0))
    to_pan, leaves = training.fit_to_pan(small_pair), []
    for split in (False, True):
        to_pan.zero_grad()
        image = (0.9 * batch["exp"] + 0.1 * batch["pan"]).requires_grad_()
        terms = losses.stage_two(
            image, batch, small_pair.sensor, to_pan, weights | {"direction": 0.0}
        )
        if split:
            row = training._backward(terms, weights, {"full": image}, to_pan, 0)
        else:
            sum(weights[name] * term for name, term in terms.items()).backward()
        leaves.append([image.grad.clone(), *(p.grad.clone() for p in to_pan.parameters())])
    for whole, parts in zip(*leaves, strict=True):
        torch.testing.assert_close(parts, whole)
    assert row["loss"] == pytest.approx(sum(weights[n] * terms[n].item() for n in terms), rel=1e-5)


def test_history_holds_each_terms_gradient_at_the_fused_image(small_pair):
    config = TrainConfig(steps=1, batch=2, patch=64, direction=0.0, spat=0.0, qnr=0.0)
    seen = {}

    class Watching(FusionNet):
        def forward(self, ms, pan):
            out = super().forward(ms, pan)
            seen.update(out=out.detach().clone(), ms=ms.clone())
            return out

    backbones.REGISTRY["watching"] = Watching
    try:
        _, history = training.train(
            small_pair, dataclasses.replace(config, backbone="watching"), progress=False
        )
    finally:
        backbones.REGISTRY.pop("watching")
    image = seen["out"].requires_grad_()
    losses.spectral(image, seen["ms"], small_pair.sensor).backward()
    assert history[0]["grad spec"] == pytest.approx(image.grad.norm().item(), rel=1e-4)
    assert set(history[0]) == {"step", "loss", "spec", "grad spec"}


def test_a_gradient_that_is_no_number_is_named(small_pair, monkeypatch):
    def bad(fused, *_):
        return (fused * 0).sqrt().sum()  # value 0, gradient NaN

    monkeypatch.setattr(losses, "spectral", bad)
    with pytest.raises(
        FloatingPointError, match="gradient of loss term 'spec' is not finite at step 0"
    ):
        training.train(small_pair, QUICK, progress=False)


@pytest.mark.parametrize(
    ("batch", "patch", "each"), [(1, 128, 1), (4, 128, 4), (1, 64, 1), (2, 64, 1)]
)
def test_all_crops_are_seen_in_turn_and_some_in_every_step(
    small_pair, random_clip, monkeypatch, batch, patch, each
):
    supervisor, _ = adaptation.adapt(
        small_pair, random_clip, prompts.get("wald"), AdaptConfig(steps=1), progress=False
    )
    seen, real = [], losses.language

    def spy(guide, fused, *others, crops, **more):
        seen.append(list(range(len(guide.tiles(fused))))[crops])
        return real(guide, fused, *others, crops=crops, **more)

    monkeypatch.setattr(losses, "language", spy)
    training.train(
        small_pair, TrainConfig(steps=4, batch=batch, patch=patch), supervisor, progress=False
    )
    crops = batch * (patch // 64) ** 2
    assert [len(step) for step in seen] == [each] * 4
    assert sorted(seen[0] + seen[1] + seen[2] + seen[3])[:: max(1, 4 * each // crops)] == list(
        range(crops)
    )


SHARED = """
import json, sys
from accelerate import Accelerator
from clippan_lite import training
from clippan_lite.config import TrainConfig
from clippan_lite.data.synthetic import make_scene

accelerator = Accelerator(cpu=True)
config = TrainConfig(steps=8, batch=4, patch=64, direction=0.0)
_, history = training.train(make_scene(0, 256), config, progress=False, accelerator=accelerator)
if accelerator.is_main_process:
    print(json.dumps([accelerator.num_processes, history]))
accelerator.wait_for_everyone()
accelerator.end_training()  # or one process may abort when the other is gone first
"""


@pytest.mark.slow
def test_two_processes_with_half_the_batch_each_give_the_same_curve(tmp_path):
    (tmp_path / "shared.py").write_text(SHARED)
    # torchrun, for on the CPU of one machine `accelerate launch` starts one process.
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "shared.py",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        launch, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    processes, shared = json.loads(done.stdout.strip().splitlines()[-1])
    assert processes == 2
    config = TrainConfig(steps=8, batch=4, patch=64, direction=0.0)
    _, history = training.train(make_scene(0, 256), config, progress=False)
    for alone, both in zip(history, shared, strict=True):
        for term in ("loss", "spec", "spat", "qnr"):
            assert both[term] == pytest.approx(alone[term], abs=1e-5), (alone["step"], term)


def test_bfloat16_in_the_network_changes_the_curve_little(small_pair):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    _, half = training.train(small_pair, QUICK, progress=False, accelerator=accelerator)
    _, single = training.train(small_pair, QUICK, progress=False)
    losses_of = [[row["loss"] for row in history] for history in (half, single)]
    assert losses_of[0] == pytest.approx(losses_of[1], rel=0.1) and losses_of[0] != losses_of[1]


def test_processes_that_cannot_share_a_batch_are_refused(small_pair):
    three = types.SimpleNamespace(
        num_processes=3, process_index=0, device="cpu", mixed_precision="no"
    )
    with pytest.raises(ValueError, match="3 processes cannot share a batch of 2 evenly"):
        training.train(small_pair, QUICK, progress=False, accelerator=three)


def test_recipes_by_name_and_their_mistakes():
    best = recipe("best", seed=3, steps=5)
    assert (best.seed, best.steps, best.spat) == (3, 5, 0.0) and best.rho > 0
    paper = recipe("paper")
    assert (paper.steps, paper.batch, paper.lr) == (1000, 32, 3e-3)  # METHOD: the paper's settings
    assert {paper.spec, paper.spat, paper.qnr, paper.ship, paper.direction} == {
        1.0
    } and paper.rho == 0
    with pytest.raises(
        ValueError, match="unknown recipe 'fast': expected one of course, quick, paper, best"
    ):
        recipe("fast")
    with pytest.raises(
        ValueError, match="unknown setting 'spatial' of a training: expected one of backbone, start"
    ):
        recipe("best", spatial=1.0)


def test_recipe_best_beats_the_quick_one_against_the_truth(small_pair):
    """Forty steps of each: local correlation brings details in without costing colour."""
    errors = {}
    for name in ("quick", "best"):
        config = recipe(name, steps=40, batch=2, patch=64, direction=0.0)
        network, _ = training.train(small_pair, config, progress=False)
        errors[name] = evaluation.against_truth(fusion.fuse(small_pair, network), small_pair)[
            "ERGAS"
        ]
    assert errors["best"] < errors["quick"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": -5}, "steps must be at least 0, found -5"),
        ({"steps": 2.5}, r"steps must be at least 0, found 2\.5"),
        ({"batch": 1}, "batch must be at least 2, found 1"),
        ({"temperature": 0.0}, r"temperature must be at least 0\.001, found 0\.0"),
        ({"direction": -1.0}, "direction must be at least 0"),
        ({"image_share": 5.0}, r"image_share must be at least 0 and at most 1, found 5\.0"),
    ],
)
def test_stage_one_settings_that_cannot_be_are_one_line(small_pair, random_clip, setting, message):
    with pytest.raises(ValueError, match=message):
        adaptation.adapt(
            small_pair, random_clip, prompts.get("wald"), AdaptConfig(**setting), progress=False
        )


def test_crops_are_never_smaller_than_what_clip_looks_at(random_clip, small_pair):
    small = make_scene(0, 128)
    cropped = dataclasses.replace(
        small, ms=small.ms[:, :, :14], pan=small.pan[:, :, :56], truth=None
    )
    with pytest.raises(
        ValueError, match=r"gives crops of 56 here, but .* looks at 64 native pixels"
    ):
        adaptation.adapt(
            cropped,
            random_clip,
            prompts.get("wald"),
            AdaptConfig(steps=1),
            progress=False,
            split="all",
        )
    guide, _ = adaptation.adapt(
        small_pair, random_clip, prompts.get("wald"), AdaptConfig(steps=1), progress=False
    )
    with pytest.raises(ValueError, match="gives crops of 48 here"):
        training.train(small_pair, TrainConfig(steps=1, patch=48), guide, progress=False)
    with pytest.raises(
        ValueError, match="gives held-out crops of 32, expected 224: use a scene at least 480 wide"
    ):
        probes.held_out_views(make_scene(0, 256), 224)


# ---------------------------------------------------------------- several scenes, one scale down, a start


SUPERVISED = {
    "spec": 0.0,
    "spat": 0.0,
    "qnr": 0.0,
    "direction": 0.0,
    "steps": 60,
    "batch": 2,
    "patch": 64,
}


def test_one_scale_down_ms_teaches_what_holds_at_full_resolution(small_pair):
    """Only MS is looked at, two scales below the truth that judges here."""
    network, history = training.train(
        small_pair, TrainConfig(reduced=1.0, **SUPERVISED), progress=False
    )
    assert set(history[0]) == {"step", "loss", "reduced", "grad reduced"}
    ours = evaluation.against_truth(fusion.fuse(small_pair, network), small_pair)
    exp = evaluation.against_truth(degrade.upsample(small_pair.ms, 4), small_pair)
    assert ours["PSNR"] > exp["PSNR"] + 0.3
    without = dataclasses.replace(small_pair, truth=None)
    teacher = training.teach(without, TrainConfig(**SUPERVISED), progress=False)
    for mine, same in zip(network.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(mine, same)  # the truth was not looked at, and teach() is this training


def test_reduced_and_full_terms_reach_the_network_together(small_pair):
    """The step's gradient is that of the weighted sum, written out by hand."""
    config = dataclasses.replace(QUICK, spat=0.0, reduced=0.5, steps=1)
    network, _ = training.train(small_pair, config, progress=False)
    torch.manual_seed(0)
    by_hand = backbones.create("fusionnet", 8).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    batch = data.Patches(small_pair, 64, stride=32).sample(2, generator)
    small = data.reduced(small_pair)
    low = data.Patches(small, 32, extra={"truth": small.truth}, least=16).sample(2, generator)
    loss = losses.spectral(by_hand(batch["ms"], batch["pan"]), batch["ms"], small_pair.sensor)
    loss = loss + 0.5 * losses.mse_ssim(by_hand(low["ms"], low["pan"]), low["truth"])
    loss.backward()
    optimiser = torch.optim.Adam(by_hand.parameters(), config.lr)
    torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.lr, 20, pct_start=0.1
    )  # sets the first step's rate
    optimiser.step()
    for mine, hand in zip(network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, hand, rtol=1e-4, atol=1e-6)


def test_truth_is_asked_for_by_name(small_pair):
    _network, history = training.train(
        small_pair, TrainConfig(truth=1.0, **SUPERVISED), progress=False
    )
    assert history[-1]["truth"] < 0.9 * history[0]["truth"] and "spec" not in history[0]
    with pytest.raises(
        ValueError, match="truth > 0 needs scenes whose truth is known, found synthetic"
    ):
        config = TrainConfig(truth=1.0, **SUPERVISED)
        training.train(dataclasses.replace(small_pair, truth=None), config, progress=False)


def test_one_network_for_several_scenes(small_pair, tmp_path):
    other = make_scene(seed=9, size=256, sensor="WV3")
    _, history = training.train(
        [small_pair, other], dataclasses.replace(QUICK, steps=4), progress=False
    )
    assert len(history) == 4
    both = dataclasses.replace(QUICK, steps=6)
    whole, _ = training.train([small_pair, other], both, progress=False)
    kept = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        stop = {
            "on_step": lambda step, *_: os.kill(os.getpid(), signal.SIGINT) if step == 3 else None
        }
        training.train([small_pair, other], both, progress=False, checkpoint=kept, **stop)
    resumed, _ = training.train([small_pair, other], both, progress=False, checkpoint=kept)
    for one, two in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(
        ValueError, match=r"cannot take these scenes together: .* 8 bands, .* 4 bands"
    ):
        training.train([small_pair, make_scene(0, 256, "GF2")], QUICK, progress=False)
    with pytest.raises(ValueError, match="no scene to train on"):
        training.train([], QUICK, progress=False)


def test_a_training_begins_where_another_ended(small_pair, tmp_path, capsys):
    network, _ = training.train(small_pair, QUICK, progress=False)
    path = tmp_path / "first.safetensors"
    checkpoints.save_network(path, network, QUICK)
    again, _ = training.train(
        small_pair, dataclasses.replace(QUICK, steps=0, start=str(path)), progress=False
    )
    for one, two in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(
        ValueError,
        match=r"first.safetensors holds fusionnet for 8 bands, ratio 4, .* wanted pnn for",
    ):
        training.train(
            small_pair, dataclasses.replace(QUICK, start=str(path), backbone="pnn"), progress=False
        )
    with pytest.raises(FileNotFoundError, match="nowhere is neither a network"):
        training.train(small_pair, dataclasses.replace(QUICK, start="nowhere"), progress=False)
    training.train(
        small_pair,
        dataclasses.replace(QUICK, steps=0, start="bundled", backbone="pnn"),
        progress=False,
    )
    assert (
        "no bundled weights of pnn for 8 bands, ratio 4: begins at EXP" in capsys.readouterr().out
    )


def test_balanced_weights_push_in_proportion(small_pair):
    history = [{"grad spec": 2.0, "grad spat": 8.0}, {"grad spec": 4.0, "grad spat": 4.0}]
    now = training.balanced({"spec": 1.0, "spat": 0.5, "qnr": 0.0}, history)
    assert now["spec"] * 6 == pytest.approx(2 * now["spat"] * 12) and now["qnr"] == 0.0
    assert training.balanced({"spec": 1.0, "spat": 0.5}, []) == {"spec": 1.0, "spat": 0.5}
    _, plain = training.train(small_pair, QUICK, progress=False)
    _, scaled = training.train(small_pair, dataclasses.replace(QUICK, balance=True), progress=False)
    assert plain[1]["loss"] != scaled[1]["loss"] and plain[0]["loss"] == scaled[0]["loss"]


def test_the_paper_needs_one_call_which_makes_its_teacher(
    small_pair, random_clip, capsys, tmp_path
):
    supervisor, _ = adaptation.adapt(
        small_pair, random_clip, prompts.get("wald"), AdaptConfig(steps=2, batch=2), progress=False
    )
    paper = recipe("paper", steps=3, batch=2, patch=64)
    _, history = training.train(small_pair, paper, supervisor, progress=False)
    assert "none given, training one now" in capsys.readouterr().out
    assert {"spec", "spat", "qnr", "ship", "direction"} < set(history[0])
    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        stop = {"on_step": lambda *_: signal.raise_signal(signal.SIGINT)}
        training.train(small_pair, paper, supervisor, progress=False, checkpoint=state, **stop)
    assert len(list(tmp_path.glob("state-teacher-*.safetensors"))) == 1 and state.is_file()
    _, resumed = training.train(small_pair, paper, supervisor, progress=False, checkpoint=state)
    assert "loaded state-teacher-" in capsys.readouterr().out and len(resumed) == 3
    assert list(tmp_path.iterdir()) == []


def test_previews_show_pan_exp_and_the_network(small_pair, tmp_path):
    from PIL import Image

    from clippan_lite.course import imagery

    look = imagery.previews(small_pair, tmp_path / "looks", every=5, side=64)
    network, _ = training.train(
        small_pair, dataclasses.replace(QUICK, steps=11, lr=2e-2), progress=False, on_step=look
    )
    names = sorted(file.name for file in (tmp_path / "looks").iterdir())
    assert names == ["step00005.png", "step00010.png"]
    early, late = (torch.tensor(numpy.array(Image.open(tmp_path / "looks" / n))) for n in names)
    assert early.shape == (64, 192, 3)
    assert torch.equal(early[:, :128], late[:, :128]) and not torch.equal(
        early[:, 128:], late[:, 128:]
    )
    without, _ = training.train(
        small_pair, dataclasses.replace(QUICK, steps=11, lr=2e-2), progress=False
    )
    for watched, alone in zip(network.parameters(), without.parameters(), strict=True):
        assert torch.equal(watched, alone)  # looking changes nothing
