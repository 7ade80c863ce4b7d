"""What a training made, and from where a stopped one goes on."""

import dataclasses
import errno
import json
import os
import signal

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clippan_lite import adapter, backbones, checkpoints, fusion, losses, training
from clippan_lite.config import AdaptConfig, TrainConfig, recipe
from clippan_lite.data.synthetic import make_scene
from clippan_lite.runtime import weights

QUICK = TrainConfig(steps=12, batch=2, patch=64).changed(direction=0.0, qnr=0.0)


def flat(network):
    return torch.cat([p.flatten() for p in network.parameters()])


def rewrite(path, **changes):
    """Change facts in a file's header; returns those that were there."""
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["clippan_lite"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"clippan_lite": json.dumps(facts | changes)})
    return facts


def press_stop(at):
    """A callback that presses Ctrl-C in one step."""

    def press(step, network, row):
        if step == at:
            signal.raise_signal(signal.SIGINT)

    return press


# ---------------------------------------------------------------- networks and supervisors


def test_network_checkpoint_roundtrip(small_pair, tmp_path):
    network, history = training.train(small_pair, QUICK, progress=False)
    checkpoints.save_network(tmp_path / "n.safetensors", network, QUICK)
    again = checkpoints.load_network(tmp_path / "n.safetensors")
    assert torch.equal(fusion.fuse(small_pair, network), fusion.fuse(small_pair, again))
    assert len(history) == QUICK.steps
    assert [p.name for p in tmp_path.iterdir()] == ["n.safetensors"]
    with pytest.raises(FileNotFoundError, match="train first"):
        checkpoints.load_network(tmp_path / "missing.safetensors")


def test_a_network_trained_with_a_loss_of_ones_own_is_loaded_without_it(tmp_path, registry):
    losses.register("of_my_own")(lambda fused, batch: fused.mean())
    network, path = backbones.create("fusionnet", 8), tmp_path / "n.safetensors"
    checkpoints.save_network(path, network, QUICK.changed(of_my_own=0.1))
    del registry["of_my_own"]
    assert torch.equal(flat(checkpoints.load_network(path)), flat(network))


def test_a_network_of_another_version_is_refused(tmp_path):
    path = tmp_path / "n.safetensors"
    checkpoints.save_network(path, backbones.create("fusionnet", 8), QUICK)
    for change in ({"config": {"steps": 1}}, {"config": {"weights": {}, "turns": 2}}):
        rewrite(path, **change)
        with pytest.raises(ValueError, match="holds no fusion network of this version"):
            checkpoints.load_network(path)


def test_a_supervisor_of_another_clip_is_refused(random_clip, adapted, tmp_path):
    path = tmp_path / "s.safetensors"
    adapter.save_supervisor(path, adapted, AdaptConfig(steps=15), "WV2")
    assert adapter.load_supervisor(path, random_clip).prompts == adapted.prompts
    assert rewrite(path, clip="another")["config"]["steps"] == 15
    with pytest.raises(ValueError, match="adapted around another"):
        adapter.load_supervisor(path, random_clip)


def test_a_training_begins_where_another_ended(small_pair, tmp_path, capsys):
    network, _ = training.train(small_pair, QUICK, progress=False)
    path = tmp_path / "first.safetensors"
    checkpoints.save_network(path, network, QUICK)
    from_it = QUICK.changed(steps=0, start=str(path))
    again, _ = training.train(small_pair, from_it, progress=False)
    assert torch.equal(flat(network), flat(again))
    message = r"first.safetensors holds fusionnet for 8 bands, ratio 4, .* wanted pnn for"
    with pytest.raises(ValueError, match=message):
        training.train(small_pair, from_it.changed(backbone="pnn"), progress=False)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: train first"):
        training.train(small_pair, QUICK.changed(start="nowhere"), progress=False)
    bundled = QUICK.changed(steps=0, start="bundled", backbone="pnn")
    with pytest.raises(ValueError, match=r"no bundled weights of pnn: take bandwise"):
        training.train(small_pair, bundled, progress=False)


# ---------------------------------------------------------------- stop and go on


def test_interrupted_training_goes_on_to_the_very_same_weights(small_pair, tmp_path):
    config = TrainConfig(steps=6, batch=2, patch=64).changed(direction=0.0)
    state = tmp_path / "state.safetensors"
    whole, rows = training.train(small_pair, config, progress=False)

    def train(*callbacks):
        return training.train(
            small_pair, config, progress=False, checkpoint=state, callbacks=callbacks
        )

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 3"):
        train(press_stop(2))
    assert signal.getsignal(signal.SIGINT) is before
    steps = []
    again, rows_again = train(lambda step, *_: steps.append(step))
    assert steps == [3, 4, 5]
    assert torch.equal(flat(whole), flat(again)) and rows == rows_again
    with pytest.raises(KeyboardInterrupt, match="stopped after step 2"):
        train(lambda step, network, row: row["loss"] > 0 and step > 0)
    again, rows_again = train()
    assert torch.equal(flat(whole), flat(again))
    assert rows == rows_again
    assert not state.exists()


def test_going_on_with_l_d_and_without_l_spat(small_pair, adapted, tmp_path):
    """Features are encoded anew, in other batches; phi has no gradient and no moments."""
    config = TrainConfig(steps=6, batch=2, patch=64).changed(spat=0.0)
    state = tmp_path / "state.safetensors"
    whole, _ = training.train(small_pair, config, adapted, progress=False)
    stopping = {"checkpoint": str(state), "every": 2, "callbacks": [press_stop(3)]}
    with pytest.raises(KeyboardInterrupt):
        training.train(small_pair, config, adapted, progress=False, **stopping)
    again, rows = training.train(small_pair, config, adapted, progress=False, checkpoint=state)
    assert len(rows) == 6
    torch.testing.assert_close(flat(again), flat(whole), atol=1e-5, rtol=1e-4)


def test_several_scenes_go_on_to_the_very_same_weights(small_pair, tmp_path):
    pairs = [small_pair, make_scene(seed=9, size=256, sensor="WV3")]
    config, kept = QUICK.changed(steps=6), tmp_path / "state.safetensors"
    whole, _ = training.train(pairs, config, progress=False)
    stopping = {"checkpoint": kept, "callbacks": [press_stop(3)]}
    with pytest.raises(KeyboardInterrupt):
        training.train(pairs, config, progress=False, **stopping)
    resumed, _ = training.train(pairs, config, progress=False, checkpoint=kept)
    assert torch.equal(flat(whole), flat(resumed))


def test_a_state_of_another_training_is_refused(small_pair, tmp_path):
    state = tmp_path / "state.safetensors"
    config = QUICK.changed(steps=4)

    def train(pair=small_pair, config=config, callbacks=()):
        options = {"checkpoint": state, "every": 1, "callbacks": callbacks}
        return training.train(pair, config, progress=False, **options)

    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[press_stop(0)])
    with pytest.raises(ValueError, match=r"is of other settings \(lr\)"):
        train(config=config.changed(lr=1e-3))
    with pytest.raises(ValueError, match=r"is of other settings \(steps, spat\)"):
        train(config=config.changed(spat=0.5, steps=5))
    with pytest.raises(ValueError, match=r"is of other settings \(data\)"):
        train(pair=dataclasses.replace(small_pair, ms=small_pair.ms + 1))
    with pytest.raises(ValueError, match=r"is of other settings \(scenes\)"):
        train(pair=dataclasses.replace(small_pair, convention="geo"))
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ValueError, match="holds no state of a training"):
        train()


def test_full_disk_leaves_the_state_before(small_pair, tmp_path, monkeypatch):
    state, config = tmp_path / "state.safetensors", QUICK.changed(steps=3, batch=1)
    write, calls = weights.save_file, []

    def full(tensors, path, *more):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(tensors, path, *more)

    monkeypatch.setattr(weights, "save_file", full)
    message = r"after step 2 is not kept: the disk is full: .*the one before it is kept"
    with pytest.raises(OSError, match=message):
        training.train(small_pair, config, progress=False, checkpoint=state, every=1)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]
    _, history = training.train(small_pair, config, progress=False, checkpoint=state)
    assert len(history) == 3


def test_a_place_or_a_pace_that_cannot_be_is_refused(small_pair, tmp_path):
    with pytest.raises(ValueError, match="is a folder: give a file in it"):
        training.train(small_pair, QUICK, progress=False, checkpoint=tmp_path)
    state = tmp_path / "state.safetensors"
    with pytest.raises(ValueError, match="every must be at least 1, found 0"):
        training.train(small_pair, QUICK, progress=False, checkpoint=state, every=0)


def test_a_redefined_loss_or_backbone_does_not_go_on(small_pair, tmp_path, registry, monkeypatch):
    state = tmp_path / "state.safetensors"
    config = QUICK.changed(steps=4)

    def train(**changes):
        options = {"checkpoint": state, "callbacks": [lambda *_: True]}
        training.train(small_pair, config.changed(**changes), progress=False, **options)

    losses.register("of_my_own")(lambda fused, batch: fused.square().mean())
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 1; the state is in .*state"):
        train(of_my_own=0.1)
    losses.register("of_my_own")(lambda fused, batch: fused.abs().mean())
    with pytest.raises(ValueError, match=r"is of other settings \(code of of_my_own\)"):
        train(of_my_own=0.1)
    state.unlink()

    def network(width):
        class Mine(backbones.Fusion):
            reach = 1

            def __init__(self, bands, ratio, convention):
                super().__init__(bands, ratio, convention)
                self.inner = backbones.conv(bands + 1, width)
                self.last = backbones.silence(backbones.conv(width, bands))

            def residual(self, exp, pan):
                return self.last(self.inner(torch.cat([exp, pan], 1)))

        return Mine

    monkeypatch.setitem(backbones.REGISTRY, "mine", network(4))
    with pytest.raises(KeyboardInterrupt):
        train(backbone="mine")
    monkeypatch.setitem(backbones.REGISTRY, "mine", network(5))
    with pytest.raises(ValueError, match="is of a network with other layers; use that network"):
        train(backbone="mine")


def test_without_a_checkpoint_the_stop_says_that_nothing_is_kept(small_pair):
    with pytest.raises(KeyboardInterrupt, match="nothing is kept, because no checkpoint was given"):
        training.train(small_pair, QUICK, progress=False, callbacks=[lambda *_: True])


def test_a_network_is_not_written_onto_a_folder(tmp_path):
    folder = tmp_path / "n.safetensors"
    folder.mkdir()
    with pytest.raises(ValueError, match="is a folder: give a file in it"):
        checkpoints.save_network(folder, backbones.create("fusionnet", 8), QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["n.safetensors"]


def test_a_network_is_saved_only_with_settings_that_make_it_again(tmp_path):
    path, network = tmp_path / "n.safetensors", checkpoints.bundled(4, 4)
    refused = r"is a Bandwise with options .*, these settings make a .*: save it with the settings"
    for wrong in (recipe("best"), QUICK, recipe("best", options={"width": 8, "eightfold": False})):
        with pytest.raises(ValueError, match=refused):
            checkpoints.save_network(path, network, wrong)
    assert not path.exists()
    checkpoints.save_network(path, network, recipe("course"))
    assert checkpoints.load_network(path).options == network.options
    assert path.stat().st_mode & 0o777 == 0o666 & ~os.umask(os.umask(0o022))


def test_an_image_in_place_of_a_network_is_not_called_one_to_remove(tmp_path):
    (tmp_path / "fused.tif").write_bytes(b"II*\0")
    with pytest.raises(ValueError, match=r"holds no fusion network.*: give a \.safetensors file"):
        checkpoints.load_network(tmp_path / "fused.tif")


def test_options_that_do_not_fit_the_start_are_named():
    wide = recipe("best", options={"width": 16})
    with pytest.raises(ValueError, match=r"wanted .*'width': 16.*: leave out options that change"):
        checkpoints.start(wide, 4, 4, "benchmark")


def test_a_network_of_ones_own_backbone_says_where_it_can_be_used(tmp_path, monkeypatch):
    path = tmp_path / "n.safetensors"
    monkeypatch.setitem(backbones.REGISTRY, "mine", backbones.find("pnn"))
    mine = TrainConfig(backbone="mine")
    checkpoints.save_network(path, backbones.create("mine", 4), mine)
    assert isinstance(checkpoints.load_network(path), backbones.find("pnn"))
    monkeypatch.delitem(backbones.REGISTRY, "mine")
    with pytest.raises(ValueError, match=r"backbone 'mine', which is not known here; if it is"):
        checkpoints.load_network(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"neither a network's \.safetensors nor a run"):
        checkpoints.find_network(tmp_path / "empty")


def test_a_network_of_nan_does_not_replace_a_good_one(tmp_path):
    path, network = tmp_path / "n.safetensors", backbones.create("pnn", 4)
    config = TrainConfig(backbone="pnn")
    checkpoints.save_network(path, network, config)
    next(network.parameters()).data[0] = float("nan")
    with pytest.raises(ValueError, match=r"holds NaN or infinity: .* is not written"):
        checkpoints.save_network(path, network, config)
    assert isinstance(checkpoints.load_network(path), type(network))
    with pytest.raises(ValueError, match="expected the network of type Fusion"):
        checkpoints.save_network(network, path, config)
