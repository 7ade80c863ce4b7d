"""The command ``clippan-lite``. Imports are inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from clippan_lite import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes the process's.

    Returns:
        Exit code: 0 done, 1 a notebook or a point failed or `check` found problems, 2 wrong input, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except KeyboardInterrupt:
        how = "--resume with the same --out" if arguments.command is _chain else "the same command"
        print(f"clippan-lite: interrupted; {how} goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"clippan-lite: {_one_line(error)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        print(
            f"clippan-lite: not enough memory ({_one_line(error)[:100]}): take a smaller --window",
            file=sys.stderr,
        )
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clippan-lite",
        description="Unsupervised pansharpening supervised by CLIP and a sentence.",
    )
    parser.add_argument("--version", action="version", version=f"clippan-lite {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    chain = commands.add_parser(
        "chain", help="run all notebooks in order into a run folder, and make the report"
    )
    chain.add_argument(
        "--pan", metavar="FILE", help="panchromatic GeoTIFF (default: the embedded synthetic scene)"
    )
    chain.add_argument("--ms", metavar="FILE", help="multispectral GeoTIFF of the same area")
    chain.add_argument(
        "--sensor",
        metavar="NAME",
        help="sensor of the pair, a name or a TOML file: clippan-lite sensors",
    )
    chain.add_argument(
        "--out", metavar="DIR", help="run folder, empty or new (default: runs/SCENE-TIME)"
    )
    chain.add_argument(
        "--resume", action="store_true", help="go on with the run in --out, same parameters"
    )
    chain.add_argument(
        "-p", dest="parameters", nargs=2, metavar=("NAME", "VALUE"), action="append", default=[],
        help="set a parameter of the notebooks, may be repeated",
    )  # fmt: skip
    chain.set_defaults(command=_chain)

    train = commands.add_parser(
        "train", help="train a fusion network on a pair of GeoTIFFs, without truth"
    )
    fuse = commands.add_parser(
        "fuse", help="fuse a pair of GeoTIFFs of any size into a Cloud-Optimised GeoTIFF"
    )
    for command in (train, fuse):
        command.add_argument("pan", metavar="PAN", help="panchromatic GeoTIFF")
        command.add_argument("ms", metavar="MS", help="multispectral GeoTIFF of the same area")
        command.add_argument(
            "out", metavar="OUT", help="folder to write" if command is train else "GeoTIFF to write"
        )
        command.add_argument(
            "--sensor",
            required=True,
            metavar="NAME",
            help="a name or a TOML file: clippan-lite sensors",
        )
        command.add_argument(
            "--convention",
            default="benchmark",
            help="benchmark or geo: where MS sits on PAN's grid",
        )
        command.add_argument("--register", action="store_true", help="shift PAN onto MS first")
        command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    train.add_argument(
        "--recipe",
        default="best",
        metavar="NAME",
        help="course, quick, paper or best (default: best)",
    )
    train.add_argument("--backbone", metavar="NAME", help="fusion network (default: the recipe's)")
    train.add_argument(
        "--steps", type=int, metavar="N", help="optimiser steps (default: the recipe's)"
    )
    train.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of weights and patches (default: 0)"
    )
    train.add_argument(
        "--start",
        metavar="FILE",
        help='network to begin with, or its run folder; "bundled" is ours',
    )
    train.set_defaults(command=_train)
    how = fuse.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--checkpoint", metavar="RUN", help="a network's .safetensors, or a run folder with one"
    )
    how.add_argument(
        "--method", metavar="NAME", help="a classical method, such as gsa or mtf-glp-fs"
    )
    fuse.add_argument(
        "--window", type=int, default=2048, metavar="N", help="PAN pixels worked on at once (2048)"
    )
    fuse.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes of a local dask cluster (1)"
    )
    fuse.add_argument(
        "--scheduler", metavar="ADDRESS", help="a running dask scheduler, such as tcp://host:8786"
    )
    fuse.set_defaults(command=_fuse)

    sweep = commands.add_parser(
        "sweep", help="measure the points of a study that are missing, and write its table"
    )
    sweep.add_argument(
        "study", metavar="STUDY", help="TOML file, or the name of one of our studies: A_losses"
    )
    sweep.add_argument(
        "--full", action="store_true", help="the study's full form instead of the quick one"
    )
    sweep.add_argument(
        "--out", metavar="DIR", help="folder, new or of this study (default: runs/sweep-STUDY-FORM)"
    )
    sweep.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes of a local dask cluster (1)"
    )
    sweep.add_argument(
        "--scheduler", metavar="ADDRESS", help="a running dask scheduler, such as tcp://host:8786"
    )
    sweep.add_argument(
        "--direct", action="store_true", help="no kernel and no executed notebook for each point"
    )
    sweep.add_argument(
        "--device", metavar="NAME", help="auto, cpu or cuda (default: the study's, else auto)"
    )
    sweep.add_argument(
        "--minutes", type=float, metavar="M", help="begin no point after so many minutes"
    )
    sweep.set_defaults(command=_sweep)

    check = commands.add_parser(
        "check", help="versions, device, weights, folders, and what is wrong"
    )
    check.set_defaults(command=_check)
    sensors = commands.add_parser("sensors", help="the sensor table, or one entry to copy")
    sensors.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a sensor file of your own (default: the built-in ones)",
    )
    sensors.add_argument(
        "--show", metavar="NAME", help="print one sensor as TOML, with its sources"
    )
    sensors.set_defaults(command=_sensors)
    return parser


def _chain(arguments: argparse.Namespace) -> int:
    from clippan_lite.course import chain

    parameters: dict[str, object] = {}
    for name, value in arguments.parameters:
        if name in parameters:
            raise ValueError(f"parameter {name} is given twice: give it once")
        parameters[name] = value
    if bool(arguments.pan) != bool(arguments.ms):
        have, lack = ("--pan", "--ms") if arguments.pan else ("--ms", "--pan")
        raise ValueError(f"{have} is given without {lack}: a pair needs --pan, --ms and --sensor")
    if arguments.pan and not (arguments.sensor or chain.SENSOR in parameters):
        raise ValueError("a pair needs --sensor too: clippan-lite sensors lists the names")
    for option, name in (("pan", chain.PAN), ("ms", chain.MS), ("sensor", chain.SENSOR)):
        value = getattr(arguments, option)
        if value and name in parameters:
            raise ValueError(f"--{option} and -p {name} are both given: give one of them")
        if value:
            parameters[name] = value
    try:
        chain.run_chain(arguments.out, parameters, resume=arguments.resume)
    except chain.NotebookFailed as error:
        print(f"clippan-lite: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from clippan_lite import adaptation, checkpoints, clip, prompts, training
    from clippan_lite.config import AdaptConfig, recipe
    from clippan_lite.data import geotiff
    from clippan_lite.runtime import devices

    changes = {name: getattr(arguments, name) for name in ("backbone", "steps", "start")}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes.get("steps", 1) < 1:
        raise ValueError(f"--steps must be at least 1, found {changes['steps']}")
    config = recipe(arguments.recipe, seed=arguments.seed, **changes)
    device, out = devices.pick(arguments.device), Path(arguments.out)
    if next(p for p in (out, *out.resolve().parents) if p.exists()).is_file():
        raise ValueError(f"{out} is a file, or lies in one: give a folder")
    where = (arguments.pan, arguments.ms, arguments.sensor)
    pairs = geotiff.read_parts(*where, convention=arguments.convention, register=arguments.register)
    supervisor = None
    if config.direction:
        # Kept for the training that goes on after an interruption: on a GPU another one would not be the same.
        key = checkpoints.fingerprint(image for pair in pairs for image in (pair.ms, pair.pan))
        path, model, adapt = (
            out / f"supervisor-{key}.safetensors",
            clip.load_clip(device=device),
            AdaptConfig(),
        )
        if path.is_file() and path.with_suffix(".json").is_file():
            supervisor = checkpoints.load_supervisor(path, model)
        else:
            supervisor, _ = adaptation.adapt(pairs[0], model, prompts.get("wald"), adapt, device)
            checkpoints.save_supervisor(path, supervisor, adapt, pairs[0].sensor.name)
    state = out / "state.safetensors"
    network, history = training.train(
        pairs, config, supervisor, device=device, checkpoint=state, every=25
    )
    checkpoints.write_history(out / "history.csv", history)
    checkpoints.save_network(out / "network.safetensors", network, config)
    print(
        f"trained: {out / 'network.safetensors'}; clippan-lite fuse ... --checkpoint {out} applies it"
    )
    return 0


def _fuse(arguments: argparse.Namespace) -> int:
    from clippan_lite import checkpoints
    from clippan_lite.large_scenes import fusing
    from clippan_lite.runtime import devices

    network, tags = None, {}
    if arguments.checkpoint:
        path = checkpoints.find_network(arguments.checkpoint)
        print(f"network: {path}")
        network, tags = checkpoints.load_network(path), {"CHECKPOINT": path.name}
    device = devices.pick(arguments.device) if network is not None else "cpu"
    fusing.fuse_scene(
        arguments.pan, arguments.ms, arguments.out, arguments.sensor, network, arguments.method, arguments.convention,
        arguments.register, arguments.window, arguments.workers, arguments.scheduler, device, tags=tags,
    )  # fmt: skip
    print(f"fused: {arguments.out}")
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    from clippan_lite.experiments import sweep

    options = {
        name: getattr(arguments, name)
        for name in ("workers", "scheduler", "direct", "device", "minutes")
    }
    table = sweep.run(sweep.read(arguments.study, arguments.full), arguments.out, **options)
    rows, facts = sweep.load(table)
    print("\n".join(sweep.summary(sweep.effects(rows, facts))))
    if facts["points"]["missing"]:
        print("points are missing: the same command goes on", file=sys.stderr)
    return 1 if facts["points"]["failed"] or facts["points"]["missing"] else 0


def _check(_: argparse.Namespace) -> int:
    from clippan_lite.course import check

    lines, problems = check.report()
    print("\n".join(lines))
    print("\n".join(f"problem: {problem}" for problem in problems) or "Everything is ready.")
    return 1 if problems else 0


def _sensors(arguments: argparse.Namespace) -> int:
    from clippan_lite.physics import sensors

    if arguments.show and arguments.file:
        raise ValueError(
            f"--show and a file are both given: give --show {arguments.file} for a sensor of that file"
        )
    if arguments.show:
        print(sensors.to_toml(sensors.get(arguments.show)), end="")
        return 0
    head = ("sensor", "ratio", "bits", "bands (file order)", "MTF gain MS", "PAN", "assumed")
    rows = [head]
    for s in (sensors.load(arguments.file) if arguments.file else sensors.SENSORS).values():
        gains = sorted(set(s.mtf_ms))
        spread = f"{gains[0]:.3g}" if len(gains) == 1 else f"{gains[0]:.3g}-{gains[-1]:.3g}"
        rows.append(
            (
                s.name,
                str(s.ratio),
                str(s.bits),
                " ".join(s.bands),
                spread,
                f"{s.mtf_pan:.3g}",
                " ".join(s.assumed),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
