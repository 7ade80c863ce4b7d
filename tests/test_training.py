"""Stage II: what a training learns, what it says of itself, and what it refuses."""

import ast
import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
import traceback
import types
from pathlib import Path

import numpy
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import clippan_lite
from clippan_lite import adaptation, backbones, callbacks, data, fusion, losses, training
from clippan_lite.backbones.fusionnet import FusionNet
from clippan_lite.config import TrainConfig, recipe
from clippan_lite.data.synthetic import make_scene
from clippan_lite.metrics import evaluation
from clippan_lite.physics import degrade

QUICK = TrainConfig(steps=12, batch=2, patch=64).changed(direction=0.0, qnr=0.0)
SUPERVISED = {"steps": 60, "batch": 2, "patch": 64}


def flat(network):
    return torch.cat([p.flatten() for p in network.parameters()])


def errors_of(image, pair):
    return evaluation.against_truth(image, pair)


# ---------------------------------------------------------------- what it learns


@pytest.mark.slow
def test_training_beats_interpolation_against_the_truth(small_pair):
    network, history = training.train(small_pair, QUICK.changed(steps=60), progress=False)
    assert history[-1]["loss"] < history[0]["loss"]
    ours = errors_of(fusion.fuse(small_pair, network), small_pair)
    exp = errors_of(degrade.upsample(small_pair.ms, 4), small_pair)
    assert ours["ERGAS"] < 0.95 * exp["ERGAS"]
    assert ours["PSNR"] > exp["PSNR"] + 0.3


@pytest.mark.slow
def test_recipe_best_beats_the_quick_one_against_the_truth(small_pair):
    """Forty steps of each: local correlation brings details in without costing colour."""
    ergas = {}
    for name in ("quick", "best"):
        config = recipe(name, steps=40, batch=2, patch=64, direction=0.0)
        network, _ = training.train(small_pair, config, progress=False)
        ergas[name] = errors_of(fusion.fuse(small_pair, network), small_pair)["ERGAS"]
    assert ergas["best"] < ergas["quick"]


def test_same_seed_same_network_other_seed_another(small_pair):
    config = TrainConfig(steps=3, batch=1, patch=64).changed(direction=0.0)
    one, two, other = (
        flat(training.train(small_pair, config.changed(seed=seed), progress=False)[0])
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_teacher_pulls_the_output(small_pair):
    class Brighter(backbones.Fusion):
        reach = 0

        def __init__(self):
            super().__init__(8, 4, "benchmark")
            self.gain = torch.nn.Parameter(torch.tensor(1.2))

        def residual(self, exp, pan):
            return exp * (self.gain - 1)

    config = TrainConfig({"ship": 1.0}, steps=30, batch=2, patch=64)
    network, _ = training.train(small_pair, config, teacher=Brighter(), progress=False)
    exp = degrade.upsample(small_pair.ms, 4)
    far = (exp - 1.2 * exp).abs().mean()
    near = (fusion.fuse(small_pair, network) - 1.2 * exp).abs().mean()
    assert near < 0.7 * far


@pytest.mark.slow
def test_one_scale_down_ms_teaches_what_holds_at_full_resolution(small_pair):
    """Only MS is looked at, two scales below the truth that judges here."""
    config = TrainConfig({"reduced": 1.0}, **SUPERVISED)
    network, history = training.train(small_pair, config, progress=False)
    assert set(history[0]) == {"step", "loss", "reduced", "grad reduced"}
    ours = errors_of(fusion.fuse(small_pair, network), small_pair)
    exp = errors_of(degrade.upsample(small_pair.ms, 4), small_pair)
    assert ours["PSNR"] > exp["PSNR"] + 0.3
    # The truth was not looked at, and teach() is this training.
    without = dataclasses.replace(small_pair, truth=None)
    teacher = training.teach(without, TrainConfig({}, **SUPERVISED), progress=False)
    assert torch.equal(flat(network), flat(teacher))


def test_reduced_and_full_terms_reach_the_network_together(small_pair):
    """The step's gradient is that of the weighted sum, written out by hand."""
    config = QUICK.changed(spat=0.0, reduced=0.5, steps=1)
    network, _ = training.train(small_pair, config, progress=False)
    torch.manual_seed(0)
    by_hand = backbones.create("fusionnet", 8).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    crops = data.Patches(small_pair, 64, stride=32).sample(2, generator)
    batch = losses.Batch(crops["ms"], crops["pan"], crops["exp"], small_pair.sensor)
    small = data.reduced(small_pair)
    low = data.Patches(small, 32, extra={"truth": small.truth}, least=16).sample(2, generator)
    loss = losses.spectral(by_hand(batch.ms, batch.pan), batch)
    loss = loss + 0.5 * losses.mse_ssim(by_hand(low["ms"], low["pan"]), low["truth"])
    loss.backward()
    optimiser = torch.optim.Adam(by_hand.parameters(), config.lr)
    # The schedule sets the first step's rate.
    torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, 20, pct_start=0.1)
    optimiser.step()
    for mine, hand in zip(network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, hand, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_truth_is_asked_for_by_name(small_pair):
    config = TrainConfig({"truth": 1.0}, **SUPERVISED)
    _, history = training.train(small_pair, config, progress=False)
    assert history[-1]["truth"] < 0.9 * history[0]["truth"] and "spec" not in history[0]
    without = dataclasses.replace(small_pair, truth=None)
    with pytest.raises(ValueError, match="the term truth needs a scene with truth, found synth"):
        training.train(without, config, progress=False)


def test_the_paper_needs_one_call_which_makes_its_teacher(small_pair, adapted, capsys, tmp_path):
    paper = recipe("paper", steps=3, batch=2, patch=64)
    _, history = training.train(small_pair, paper, adapted, progress=False)
    said = capsys.readouterr().out
    assert "teacher for L_ship: none given (3 steps, one scale down), making it now" in said
    assert {"spec", "spat", "qnr", "ship", "direction"} < set(history[0])
    state = tmp_path / "state.safetensors"
    stop = {"callbacks": [lambda *_: True]}
    with pytest.raises(KeyboardInterrupt):
        training.train(small_pair, paper, adapted, progress=False, checkpoint=state, **stop)
    assert len(list(tmp_path.glob("state-teacher-*.safetensors"))) == 1 and state.is_file()
    _, resumed = training.train(small_pair, paper, adapted, progress=False, checkpoint=state)
    assert "loaded state-teacher-" in capsys.readouterr().out and len(resumed) == 3
    assert list(tmp_path.iterdir()) == []


def test_several_scenes_that_do_not_fit_together_are_refused(small_pair):
    other = make_scene(seed=9, size=256, sensor="WV3")
    _, history = training.train([small_pair, other], QUICK.changed(steps=4), progress=False)
    assert len(history) == 4
    message = r"cannot take these scenes together: .* 8 bands, .* 4 bands"
    with pytest.raises(ValueError, match=message):
        training.train([small_pair, make_scene(0, 256, "GF2")], QUICK, progress=False)
    with pytest.raises(ValueError, match="no scene to train on"):
        training.train([], QUICK, progress=False)
    with pytest.raises(
        ValueError, match=r"expected a scene of type Pair, found 'pan\.tif': read_pair"
    ):
        training.train(["pan.tif", "ms.tif"], QUICK, progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), "expected a scene of type Pair, found NoneType"),
        ((["pair", None],), "expected a scene of type Pair, found NoneType"),
        (
            ("pair", "quick"),
            "expected config of type TrainConfig, found 'quick': such as cl.recipe",
        ),
        (
            ("pair", adaptation.AdaptConfig()),
            "expected config of type TrainConfig, found AdaptConfig",
        ),
        (("pair", QUICK, (1, 2)), "adapt returns (supervisor, history), so write supervisor, _ ="),
        (("pair", QUICK, None, 3), "expected the teacher of type Fusion, found int"),
        (("pair", QUICK, None, None, "gpu"), "device 'gpu' is unknown; expected 'auto', 'cpu'"),
    ],
)
def test_arguments_of_another_type_are_one_line(arguments, message, small_pair):
    first = arguments[0]
    scenes = [small_pair if each == "pair" else each for each in first or []]
    first = small_pair if first == "pair" else scenes or first
    with pytest.raises(ValueError, match=re.escape(message)):
        training.train(first, *arguments[1:], progress=False)


def test_the_device_may_be_chosen_by_itself(small_pair):
    network, _ = training.train(small_pair, QUICK.changed(steps=1), device="auto", progress=False)
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert next(network.parameters()).device.type == wanted


def test_a_setting_that_does_nothing_is_said(small_pair, capsys):
    training.train(small_pair, QUICK.changed(steps=0, guard=True), progress=False)
    assert "guard does nothing: no term with a weight takes it" in capsys.readouterr().out
    training.train(small_pair, QUICK.changed(steps=0), progress=False)
    assert "does nothing" not in capsys.readouterr().out


# ---------------------------------------------------------------- language


def test_frozen_clip_is_bitwise_unchanged_after_both_stages(random_clip, small_pair):
    before = {name: value.clone() for name, value in random_clip.model.state_dict().items()}
    config = adaptation.AdaptConfig(steps=2, batch=2)
    supervisor, _ = adaptation.adapt(small_pair, random_clip, None, config, progress=False)
    training.train(small_pair, TrainConfig(steps=2, batch=1, patch=64), supervisor, progress=False)
    after = random_clip.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in random_clip.model.parameters())


@pytest.mark.parametrize("term", ["direction", "words"])
def test_a_term_that_needs_a_supervisor_is_refused_without(term, small_pair):
    config = QUICK.changed(**{term: 0.1})
    message = rf"the term {term} needs a supervisor from adapt\(\); pass one, or set {term}=0"
    with pytest.raises(ValueError, match=message):
        training.train(small_pair, config, progress=False)


@pytest.mark.parametrize(
    "weights", [{"words": 0.3}, {"direction": 0.3}, {"words": 0.3, "direction": 0.3}]
)
def test_training_with_language_and_a_guard_is_logged_and_changes_the_network(
    weights, small_pair, adapted
):
    """Both terms look at the image through the guard, each through one of its own."""
    plain = TrainConfig(steps=2, batch=2, patch=64).changed(direction=0.0)
    guarded = plain.changed(guard=True, **weights)
    network, history = training.train(small_pair, guarded, adapted, progress=False)
    assert len(history) == 2
    for name in weights:
        assert all(row[name] > 0 and row[f"grad {name}"] > 0 for row in history)
    without, _ = training.train(small_pair, plain, progress=False)
    assert not torch.equal(network.tail.weight, without.tail.weight)


@pytest.mark.parametrize(
    ("batch", "patch", "each"), [(1, 128, 1), (4, 128, 4), (1, 64, 1), (2, 64, 1)]
)
def test_all_crops_are_seen_in_turn_and_some_in_every_step(
    small_pair, adapted, registry, batch, patch, each
):
    seen = []

    def spy(fused, batch, *, guard, tokens):
        seen.append(list(range(len(adapted.tiles(fused))))[batch.crops])
        return losses.direction_in_crops(fused, batch, guard=guard, tokens=tokens)

    registry["direction"] = losses.Term(spy, needs="supervisor")
    config = TrainConfig(steps=4, batch=batch, patch=patch)
    training.train(small_pair, config, adapted, progress=False)
    crops = batch * (patch // 64) ** 2
    assert [len(step) for step in seen] == [each] * 4
    in_turn = sorted(seen[0] + seen[1] + seen[2] + seen[3])
    assert in_turn[:: max(1, 4 * each // crops)] == list(range(crops))


# ---------------------------------------------------------------- what it says of itself


def test_history_holds_each_terms_gradient_at_the_fused_image(small_pair):
    seen = {}

    class Watching(FusionNet):
        def forward(self, ms, pan):
            out = super().forward(ms, pan)
            seen.update(out=out.detach().clone(), ms=ms.clone(), pan=pan.clone())
            return out

    config = QUICK.changed(steps=1, spat=0.0, backbone="watching")
    backbones.REGISTRY["watching"] = Watching
    try:
        _, history = training.train(small_pair, config, progress=False)
    finally:
        backbones.REGISTRY.pop("watching")
    image = seen["out"].requires_grad_()
    batch = losses.Batch(seen["ms"], seen["pan"], image.detach(), small_pair.sensor)
    losses.spectral(image, batch).backward()
    assert history[0]["grad spec"] == pytest.approx(image.grad.norm().item(), rel=1e-4)
    assert set(history[0]) == {"step", "loss", "spec", "grad spec"}


def test_a_term_that_is_not_a_number_is_named(small_pair):
    config = QUICK.changed(steps=5, batch=1, lr=1e25, spat=0.0)
    with pytest.raises(FloatingPointError, match=r"'spec' became .* at step"):
        training.train(small_pair, config, progress=False)


def test_a_gradient_that_is_no_number_is_named(small_pair, registry):
    def bad(fused, batch):
        return (fused * 0).sqrt().sum()  # value 0, gradient NaN

    registry["spec"] = losses.Term(bad)
    message = "the gradient of loss term 'spec' became nan at step 0; look at this loss and at"
    with pytest.raises(FloatingPointError, match=message):
        training.train(small_pair, QUICK, progress=False)


def test_pixels_that_are_no_numbers_are_refused(small_pair):
    broken = dataclasses.replace(small_pair, ms=small_pair.ms * float("nan"))
    with pytest.raises(ValueError, match="holds NaN or infinite pixels"):
        training.train(broken, QUICK, progress=False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"spec": 0.0, "spat": 0.0}, "all weights are 0: nothing to train on; set one of spec,"),
        ({"patch": 32}, "patches of 32 PAN pixels at ratio 4: expected at least 44"),
    ],
)
def test_settings_that_cannot_be_are_one_line(small_pair, setting, message):
    with pytest.raises(ValueError, match=message):
        training.train(small_pair, QUICK.changed(**setting), progress=False)


def test_previews_show_pan_exp_and_the_network(small_pair, tmp_path):
    from PIL import Image

    from clippan_lite.course import imagery

    config = QUICK.changed(steps=11, lr=2e-2)
    look = imagery.previews(small_pair, tmp_path / "looks", every=5, side=64)
    network, _ = training.train(small_pair, config, progress=False, callbacks=[look])
    names = sorted(file.name for file in (tmp_path / "looks").iterdir())
    assert names == ["step00005.png", "step00010.png"]
    early, late = (torch.tensor(numpy.array(Image.open(tmp_path / "looks" / n))) for n in names)
    assert early.shape == (64, 192, 3)
    assert torch.equal(early[:, :128], late[:, :128])
    assert not torch.equal(early[:, 128:], late[:, 128:])
    without, _ = training.train(small_pair, config, progress=False)
    assert torch.equal(flat(network), flat(without)), "looking changes nothing"


# ---------------------------------------------------------------- what a step costs


class HostReads(TorchDispatchMode):
    """Notes each place of ours that waits for a number from the device, as .item() does."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in self.WAITING:
            frames = traceback.extract_stack()[:-1]
            # Adam counts its steps in tensors of its own, which stay on the CPU.
            if not any("torch/optim" in Path(frame.filename).as_posix() for frame in frames):
                package = str(Path(clippan_lite.__file__).parent)
                ours = [frame for frame in frames if frame.filename.startswith(package)]
                self.found.append(f"{ours[-1].filename}:{ours[-1].lineno} {ours[-1].line}")
        return function(*args, **(kwargs or {}))


def test_the_watch_finds_what_waits():
    waiting = compile("values.max().item()", Path(clippan_lite.__file__).with_name("x.py"), "exec")
    with HostReads() as reads:
        callbacks.read_row(0, {"loss": torch.ones(())})
        assert reads.found == []
        exec(waiting, {"values": torch.ones(2)})
    assert len(reads.found) == 1 and "x.py:1" in reads.found[0]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="quick"),
        pytest.param({"words": 0.1, "guard": True}, id="words and guard"),
        pytest.param({"tokens": True}, id="tokens"),
        pytest.param(
            {"rho": 1.0, "ds": 0.3, "reduced": 0.5, "truth": 0.1, "balance": True}, id="all terms"
        ),
    ],
)
@pytest.mark.slow
def test_a_step_waits_for_the_device_once(settings, small_pair, adapted, monkeypatch):
    """For its row of the history; all else would slow a GPU down."""
    rows, transfers = [], []
    reads = HostReads()
    read_row, tolist = callbacks.read_row, torch.Tensor.tolist

    def counted_row(step, values):
        rows.append(step)
        return read_row(step, values)

    def counted_tolist(tensor):
        if tensor.is_floating_point():  # places of crops are whole numbers, drawn on the CPU
            transfers.append(tuple(tensor.shape))
        return tolist(tensor)

    monkeypatch.setattr(training, "read_row", counted_row)
    monkeypatch.setattr(torch.Tensor, "tolist", counted_tolist)
    after = []

    def note(step, network, row):
        after.append((len(reads.found), len(transfers)))

    # A patch as large as the scene: CLIP's features of MS and PAN are all encoded in step 0.
    config = recipe("quick", steps=4, batch=1, patch=256, crops_in_turn=1, **settings)
    with reads:
        training.train(small_pair, config, adapted, progress=False, callbacks=[note])
    found_first, transfers_first = after[0]
    assert reads.found[found_first : after[-1][0]] == []
    assert [count - transfers_first for _, count in after] == [0, 1, 2, 3]
    assert rows == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("function", "most"), [(training.train, 40), (adaptation.adapt, 35)], ids=["train", "adapt"]
)
def test_a_stage_fits_on_one_screen(function, most):
    definition = ast.parse(inspect.getsource(function)).body[0]
    statements = [node for node in ast.walk(definition) if isinstance(node, ast.stmt)]
    assert len(statements) - 1 <= most, "the definition itself is not counted"

    def depth(node):
        blocks = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.FunctionDef)
        inner = max((depth(child) for child in ast.iter_child_nodes(node)), default=0)
        return inner + isinstance(node, blocks)

    assert depth(definition) - 1 <= 2


# ---------------------------------------------------------------- shared by processes


SHARED = """
import json, os, sys
from accelerate import Accelerator
from clippan_lite import training
from clippan_lite.config import TrainConfig
from clippan_lite.data.synthetic import make_scene

accelerator = Accelerator(cpu=True)
config = TrainConfig(steps=8, batch=4, patch=64).changed(direction=0.0)
_, history = training.train(make_scene(0, 256), config, progress=False, accelerator=accelerator)
if accelerator.is_main_process:
    print(json.dumps([accelerator.num_processes, history]))
accelerator.wait_for_everyone()
accelerator.end_training()  # or one process may abort when the other is gone first
sys.stdout.flush()
os._exit(0)  # torch's own threads now and then abort a process that has ended
"""


@pytest.mark.slow
def test_two_processes_with_half_the_batch_each_give_the_same_curve(tmp_path):
    (tmp_path / "shared.py").write_text(SHARED)
    # torchrun, because on the CPU of one machine `accelerate launch` starts one process.
    module = [sys.executable, "-m", "torch.distributed.run"]
    launch = [*module, "--standalone", "--nproc_per_node", "2", "shared.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    options = {"capture_output": True, "text": True, "timeout": 300, "check": False}
    done = subprocess.run(launch, cwd=tmp_path, env=environment, **options)
    assert done.returncode == 0, done.stderr
    processes, shared = json.loads(done.stdout.strip().splitlines()[-1])
    assert processes == 2
    config = TrainConfig(steps=8, batch=4, patch=64).changed(direction=0.0)
    _, history = training.train(make_scene(0, 256), config, progress=False)
    for alone, both in zip(history, shared, strict=True):
        assert isinstance(both["step"], int) and both["step"] == alone["step"]
        for term in ("loss", "spec", "spat", "qnr"):
            assert both[term] == pytest.approx(alone[term], abs=1e-5), (alone["step"], term)


def test_bfloat16_in_the_network_changes_the_curve_little(small_pair):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    _, half = training.train(small_pair, QUICK, progress=False, accelerator=accelerator)
    _, single = training.train(small_pair, QUICK, progress=False)
    of_half, of_single = ([row["loss"] for row in history] for history in (half, single))
    assert of_half == pytest.approx(of_single, rel=0.1) and of_half != of_single


def accelerator_of(processes, precision="no"):
    return types.SimpleNamespace(
        num_processes=processes,
        process_index=0,
        is_main_process=True,
        device="cpu",
        mixed_precision=precision,
    )


def test_processes_that_cannot_share_a_batch_are_refused(small_pair):
    three = accelerator_of(3)
    with pytest.raises(ValueError, match="3 processes cannot share a batch of 2 evenly"):
        training.train(small_pair, QUICK, progress=False, accelerator=three)


def test_half_precision_that_loses_gradients_is_refused(small_pair):
    with pytest.raises(ValueError, match="mixed precision fp16 is not supported"):
        half = accelerator_of(1, "fp16")
        training.train(small_pair, QUICK, progress=False, accelerator=half)


@pytest.mark.slow
def test_the_recipe_best_keeps_what_is_right():
    """On a small scene that it has not seen, where L_QNR at 0.3 cost 0.7 dB of truth."""
    pair = make_scene(seed=23, size=256, sensor="IKONOS")
    before = evaluation.against_truth(fusion.fuse(pair), pair)["PSNR"]
    network, _ = training.train(pair, recipe("best"), progress=False)
    after = evaluation.against_truth(fusion.fuse(pair, network), pair)["PSNR"]
    assert after > before - 0.1


@pytest.mark.slow
def test_a_training_that_begins_with_weights_learns_from_them(small_pair):
    """L_ship pulls towards the weights that the training began with, so at first it is small."""
    config = recipe("best", steps=1, reduced=0.0)
    _, history = training.train(small_pair, config, progress=False)
    assert history[0]["ship"] < 1e-2  # the teacher is the mean of eight copies, and follows PAN
