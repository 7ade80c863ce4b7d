"""The command ``clippan-lite``. Commands import what they need, so ``--help`` answers at once."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clippan_lite.runtime.package import VERSION

if TYPE_CHECKING:
    from clippan_lite.config import AdaptConfig, TrainConfig

SENSOR_HELP = "a name or a TOML file: clippan-lite sensors"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes the process's.

    Returns:
        Exit code: 0 done, 1 a notebook or a point failed or `check` found problems, 2 wrong input,
        130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except KeyboardInterrupt:
        how = "the same command"
        if arguments.command is _chain:
            how = "--resume with the same --out"
        print(f"clippan-lite: interrupted; {how} goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        return _failed(error, 2)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        reason = f"not enough memory ({_one_line(error)[:100]}): take a smaller --window"
        return _failed(reason, 2)


def _failed(error: object, code: int) -> int:
    """Print an error as one line, and give the exit code."""
    print(f"clippan-lite: {_one_line(error)}", file=sys.stderr)
    return code


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="clippan-lite",
        description="Unsupervised pansharpening supervised by CLIP and a sentence.",
    )
    parser.add_argument("--version", action="version", version=f"clippan-lite {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, text: str) -> ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.set_defaults(command=function)
        return made

    chain = command("chain", _chain, "run all notebooks in order, and make the report")
    _chain_options(chain)
    train = command("train", _train, "train a fusion network on a pair of GeoTIFFs, without truth")
    _pair_options(train, "folder to write")
    _train_options(train)
    fuse = command("fuse", _fuse, "fuse a pair of GeoTIFFs of any size into one GeoTIFF (COG)")
    _pair_options(fuse, "GeoTIFF to write")
    _fuse_options(fuse)
    measure = command("measure", _measure, "every figure of a fused image, whoever made it")
    _measure_options(measure)
    sweep = command("sweep", _sweep, "measure the missing points of a study, and write its table")
    _sweep_options(sweep)
    command("check", _check, "versions, device, weights, folders, and what is wrong")
    sensors = command("sensors", _sensors, "the sensor table, or one entry to copy")
    _text(sensors, "file", "FILE", "a sensor file of your own (default: the built-in ones)", "?")
    _text(sensors, "--show", "NAME", "print one sensor as TOML, with its sources")
    return parser


def _text(
    command: ArgumentParser, name: str, metavar: str, text: str, nargs: str | None = None
) -> None:
    """Add an option that takes a text."""
    command.add_argument(name, metavar=metavar, help=text, nargs=nargs)


def _number(
    command: ArgumentParser, name: str, default: int | None, text: str, kind: type = int
) -> None:
    """Add an option that takes a number."""
    shown = text if default is None else f"{text} ({default})"
    command.add_argument(name, metavar="N", type=kind, default=default, help=shown)


def _chain_options(chain: ArgumentParser) -> None:
    _text(chain, "--pan", "FILE", "panchromatic GeoTIFF (default: the embedded synthetic scene)")
    _text(chain, "--ms", "FILE", "multispectral GeoTIFF of the same area")
    _text(chain, "--sensor", "NAME", f"sensor of the pair, {SENSOR_HELP}")
    _text(chain, "--out", "DIR", "run folder, empty or new (default: runs/SCENE-TIME)")
    chain.add_argument(
        "--resume", action="store_true", help="go on with the run in --out, same parameters"
    )
    chain.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        metavar=("NAME", "VALUE"),
        action="append",
        default=[],
        help="set a parameter of the notebooks, may be repeated",
    )


def _pair_options(command: ArgumentParser, out: str) -> None:
    _text(command, "pan", "PAN", "panchromatic GeoTIFF")
    _text(command, "ms", "MS", "multispectral GeoTIFF of the same area")
    _text(command, "out", "OUT", out)
    command.add_argument("--sensor", required=True, metavar="NAME", help=SENSOR_HELP)
    command.add_argument(
        "--convention",
        default="benchmark",
        help="benchmark or geo: where MS sits on PAN's grid (benchmark)",
    )
    command.add_argument("--register", action="store_true", help="shift PAN onto MS first")
    command.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")


def _train_options(train: ArgumentParser) -> None:
    known = "course, scratch, quick, paper or best (best)"
    train.add_argument("--recipe", default="best", metavar="NAME", help=known)
    _text(train, "--backbone", "NAME", "fusion network (default: the recipe's)")
    _number(train, "--steps", None, "optimiser steps (default: the recipe's)")
    _number(train, "--seed", 0, "seed of weights and patches")
    _text(train, "--start", "FILE", 'network to begin with, or its run folder; "bundled" is ours')


def _fuse_options(fuse: ArgumentParser) -> None:
    how = fuse.add_mutually_exclusive_group()
    how.add_argument(
        "--checkpoint", metavar="RUN", help="a network's .safetensors, or a run folder with one"
    )
    how.add_argument(
        "--method",
        metavar="NAME",
        help="a classical method, such as gsa (default: the best way without training)",
    )
    how.add_argument(
        "--adapt",
        action="store_true",
        help="train the network on board on the scene first (recipe best); kept in OUT.adapted",
    )
    _text(fuse, "--dtype", "NAME", "data type of OUT, such as float32 (default: that of MS)")
    _number(fuse, "--rounds", 0, "of back-projection onto MS after --method; 1 or 2 are safe")
    _number(fuse, "--window", 2048, "PAN pixels worked on at once")
    _worker_options(fuse)


def _measure_options(measure: ArgumentParser) -> None:
    _text(measure, "fused", "FUSED", "GeoTIFF on PAN's grid with MS's bands")
    for name, text in (("--pan", "panchromatic GeoTIFF"), ("--ms", "multispectral GeoTIFF")):
        measure.add_argument(name, metavar="FILE", required=True, help=text)
    measure.add_argument("--sensor", required=True, metavar="NAME", help=SENSOR_HELP)
    _text(measure, "--truth", "FILE", "GeoTIFF of the true image, where it is known")
    measure.add_argument("--convention", default="benchmark", help="benchmark or geo (benchmark)")
    measure.add_argument("--register", action="store_true", help="as it was fused")
    forms = ("table", "json", "csv")
    measure.add_argument("--format", default="table", choices=forms, help="(table)")


def _worker_options(command: ArgumentParser) -> None:
    _number(command, "--workers", 1, "processes of a local dask cluster")
    _text(command, "--scheduler", "ADDRESS", "a running dask scheduler, such as tcp://host:8786")


def _sweep_options(sweep: ArgumentParser) -> None:
    _text(sweep, "study", "STUDY", "TOML file, or the name of one of our studies: A_losses")
    sweep.add_argument(
        "--full", action="store_true", help="the study's full form instead of the quick one"
    )
    _text(sweep, "--out", "DIR", "folder, new or of this study (default: runs/sweep-STUDY-FORM)")
    _worker_options(sweep)
    sweep.add_argument(
        "--direct", action="store_true", help="no kernel and no executed notebook for each point"
    )
    _text(sweep, "--device", "NAME", "auto, cpu or cuda (default: the study's, else auto)")
    _number(sweep, "--minutes", None, "begin no point after so many minutes", float)


def _chain(arguments: Namespace) -> int:
    from clippan_lite.course import chain
    from clippan_lite.runtime import notebooks

    given = list(arguments.parameters)
    for name in ("pan", "ms", "sensor"):
        if getattr(arguments, name):
            given.append((name, getattr(arguments, name)))
    parameters = dict(given)
    for name in parameters:
        if [other for other, _ in given].count(name) > 1:
            raise ValueError(f"parameter {name} is given twice: give it once")
    try:
        chain.run_chain(arguments.out, parameters, resume=arguments.resume)
    except notebooks.NotebookFailed as error:
        return _failed(error, 1)
    return 0


def _train(arguments: Namespace) -> int:
    from clippan_lite.config import ADAPT_RECIPES, adapt_recipe, recipe

    wanted = {name: getattr(arguments, name) for name in ("backbone", "steps", "start")}
    changes = {name: value for name, value in wanted.items() if value is not None}
    if changes.get("steps", 1) < 1:
        raise ValueError(f"--steps must be at least 1, found {changes['steps']}")
    config = recipe(arguments.recipe, seed=arguments.seed, **changes)
    adapt = adapt_recipe(arguments.recipe if arguments.recipe in ADAPT_RECIPES else "ours")
    _trained(arguments, arguments.out, config, adapt)
    print(f"clippan-lite fuse ... --checkpoint {arguments.out} applies it")
    return 0


def _trained(
    arguments: Namespace, out: str, config: TrainConfig, adapt: AdaptConfig | None = None
) -> Path:
    """Train on the command's pair, and keep the network in a folder."""
    from clippan_lite.experiments.kept_training import train_on_files
    from clippan_lite.runtime import devices

    pair = (arguments.pan, arguments.ms, arguments.sensor)
    how = (arguments.convention, arguments.register, devices.pick(arguments.device))
    return train_on_files(*pair, out, config, adapt, *how)


def _fuse(arguments: Namespace) -> int:
    from clippan_lite import checkpoints
    from clippan_lite.config import recipe
    from clippan_lite.large_scenes import fusing
    from clippan_lite.runtime import devices

    scene = (arguments.pan, arguments.ms, arguments.out, arguments.sensor)
    checked = ("convention", "window", "method", "rounds", "dtype")
    options = {
        name: getattr(arguments, name) for name in (*checked, "register", "workers", "scheduler")
    }
    network, device, path = None, "cpu", None
    tags: dict[str, object] = {}
    if arguments.checkpoint:
        path = checkpoints.find_network(arguments.checkpoint)
        print(f"network: {path}")
    elif arguments.adapt:
        fusing.check_scene(*scene, **{name: options[name] for name in checked})  # training is slow
        path = _trained(arguments, f"{arguments.out}.adapted", recipe("best"))
    if path:
        network, tags = checkpoints.load_network(path), {"CHECKPOINT": path.name}
        device = devices.pick(arguments.device)
    fusing.fuse_scene(*scene, network=network, device=device, tags=tags, **options)
    print(f"fused: {arguments.out}")
    return 0


def _measure(arguments: Namespace) -> int:
    from clippan_lite.large_scenes import measuring

    pair = (arguments.pan, arguments.ms, arguments.sensor)
    how = (arguments.truth, arguments.convention, True, arguments.register)
    with contextlib.redirect_stdout(sys.stderr):  # notes; figures alone go to other programs
        rows = measuring.measure(arguments.fused, *pair, *how)
    print(measuring.written(rows, arguments.format))
    return 0


def _sweep(arguments: Namespace) -> int:
    from clippan_lite.experiments import study, sweep, tables

    names = ("workers", "scheduler", "direct", "device", "minutes")
    options = {name: getattr(arguments, name) for name in names}
    table = sweep.run(study.read(arguments.study, arguments.full), arguments.out, **options)
    rows, facts = tables.load(table)
    print("\n".join(tables.summary(tables.effects(rows, facts))))
    if facts["points"]["missing"]:
        print("points are missing: the same command goes on", file=sys.stderr)
    return 1 if facts["points"]["failed"] or facts["points"]["missing"] else 0


def _check(_: Namespace) -> int:
    from clippan_lite.course import check

    lines, problems = check.report()
    print("\n".join(lines))
    print("\n".join(f"problem: {problem}" for problem in problems) or "Everything is ready.")
    return 1 if problems else 0


def _sensors(arguments: Namespace) -> int:
    from clippan_lite.physics import sensors

    if arguments.show and arguments.file:
        raise ValueError(
            f"--show and a file are both given: give --show {arguments.file} for a sensor of that "
            "file"
        )
    if arguments.show:
        print(sensors.to_toml(sensors.get(arguments.show)), end="")
        return 0
    rows = [("sensor", "ratio", "bits", "bands (file order)", "MTF gain MS", "PAN", "assumed")]
    table = sensors.load(arguments.file) if arguments.file else sensors.SENSORS
    for sensor in table.values():
        low, high = min(sensor.mtf_ms), max(sensor.mtf_ms)
        gains = f"{low:.3g}" if low == high else f"{low:.3g}-{high:.3g}"
        shape = (sensor.name, str(sensor.ratio), str(sensor.bits), " ".join(sensor.bands))
        rows.append((*shape, gains, f"{sensor.mtf_pan:.3g}", " ".join(sensor.assumed)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
