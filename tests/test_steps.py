import pytest

from clippan_lite import fusion
from clippan_lite.experiments import steps
from clippan_lite.experiments.steps import Setup
from clippan_lite.physics import sensors


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sensor": "WV9"}, "WV9"),
        ({"convention": "foo"}, "convention"),
        ({"register": "yes"}, "register must be true or false, found 'yes'"),
        ({"prompt": "waldd"}, "unknown prompt 'waldd'"),
        ({"backbone": "resnet"}, "unknown backbone 'resnet'"),
        ({"train_steps": -1}, "train_steps must be at least 0, found -1"),
        ({"recipe": "fast"}, "unknown recipe 'fast': expected one of course, quick, paper, best"),
        ({"adapt_steps": -5}, "adapt_steps must be at least 1, found -5"),
        ({"adapt_direction": -1.0}, "adapt_direction must be 0 or more"),
        (
            {"adapt_examples": "bdsd"},
            "unknown HRMS examples 'bdsd': expected one of mixed, reduced,",
        ),
        ({"l_d_weight": -1.0}, "l_d_weight must be 0 or more"),
        ({"qnr_weight": float("nan")}, "qnr_weight must be -1 or more"),
        ({"seeds": "a,b"}, "found 'a,b'"),
        ({"seeds": ""}, "found ''"),
        ({"seeds": "1,1"}, "must be different whole numbers"),
        ({"scene_size": 130}, "multiple of 128 and at least 256"),
        ({"scene_size": 128}, "at least 256"),
        ({"unseen_sensor": "IKONOS"}, "has 4 bands, ratio 4; the network takes 8 bands"),
        ({"clip": "nosuch"}, "unknown CLIP 'nosuch'"),
        ({"device": "gpu"}, "device 'gpu'"),
    ],
)
def test_values_that_would_fail_later_are_refused_in_one_line(values, message):
    with pytest.raises(ValueError) as error:
        Setup(**values).check(load_clip=True)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_defaults_pass():
    Setup().check()
    Setup(sensor="LANDSAT8", scene_size=128, seeds="3", prompt="a sharp image").check()


def test_products_are_kept_apart_by_what_made_them(tmp_path):
    base = Setup(run_dir=str(tmp_path))
    paths = {
        steps.network_path(setup, with_l_d, seed, scale)
        for setup in (
            base,
            Setup(run_dir=str(tmp_path), prompt="wrong"),
            Setup(run_dir=str(tmp_path), qnr_weight=1.0),
        )
        for with_l_d in (False, True)
        for seed in (0, 1)
        for scale in ("full", "reduced")
    }
    # The prompt does not matter to a network trained without L_d, everything else does.
    assert len(paths) == 3 * 2 * 2 * 2 - 4
    assert steps.supervisor_path(base) != steps.supervisor_path(
        Setup(run_dir=str(tmp_path), prompt="khan")
    )


def test_products_depend_on_what_a_sensor_file_holds_and_not_on_its_path(tmp_path):
    text = sensors.to_toml(sensors.get("WV2")).replace("[WV2]", "[MINE]")
    paths = []
    for name, content in (("a", text), ("b", text), ("c", text.replace("0.11", "0.12"))):
        (tmp_path / f"{name}.toml").write_text(content)
        paths.append(
            steps.network_path(
                Setup(run_dir=str(tmp_path), sensor=f"{tmp_path}/{name}.toml"), False, 0, "full"
            )
        )
    assert paths[0] == paths[1] != paths[2]
    (tmp_path / "a.toml").write_text(text.replace("0.11", "0.12"))
    assert (
        steps.network_path(
            Setup(run_dir=str(tmp_path), sensor=f"{tmp_path}/a.toml"), False, 0, "full"
        )
        == paths[2]
    )
    names = [Setup(run_dir=str(tmp_path), sensor=name) for name in ("WV2", "WorldView-2")]
    assert steps.supervisor_path(names[0]) == steps.supervisor_path(names[1])


def test_steps_load_what_was_made(tmp_path, capsys):
    setup = Setup(run_dir=str(tmp_path), scene_size=256, adapt_steps=1, train_steps=1, device="cpu")
    pair, clip = steps.get_pair(setup), steps.get_clip(setup)
    supervisor = steps.get_supervisor(setup, pair, clip)
    network = steps.get_network(setup, pair, supervisor, True, 0)
    said = capsys.readouterr().out
    assert "made synthetic_wv2_0" in said and "adapting CLIP now" in said
    again = steps.get_network(
        setup, steps.get_pair(setup), steps.get_supervisor(setup, pair, clip), True, 0
    )
    said = capsys.readouterr().out
    assert said.count("loaded") == 3 and "adapting" not in said
    assert (fusion.fuse(pair, network) == fusion.fuse(pair, again)).all()


def test_one_of_two_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected both pan and ms"):
        steps.get_pair(Setup(run_dir=str(tmp_path), pan="pan.tif"))
