"""The command ``clippan-lite``. Commands import what they need, so ``--help`` answers at once."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clippan_lite.runtime import console
from clippan_lite.runtime.package import VERSION

if TYPE_CHECKING:
    from clippan_lite.config import AdaptConfig, TrainConfig

SENSOR_HELP = "a camera that clippan-lite sensors lists, or a TOML file"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes the process's.

    Returns:
        Exit code: 0 done, 1 a notebook or a point failed or `check` found problems, 2 wrong input,
        130 interrupted.
    """
    parser = _parser()
    if not (sys.argv[1:] if argv is None else argv):
        parser.print_help()
        return 2
    arguments = parser.parse_args(argv)
    try:
        with contextlib.redirect_stdout(console.Once(sys.stdout)):
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
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 1000 else f"{text[:1000]} ..."  # a file may hold anything


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="clippan-lite",
        description="Pansharpening: fuse a sharp grey satellite image (PAN) with a coarse colour "
        "one (MS), and test whether CLIP and a sentence can teach a network to do it.",
        epilog="clippan-lite COMMAND --help says more about each.",
    )
    parser.add_argument("--version", action="version", version=f"clippan-lite {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, text: str, example: str) -> ArgumentParser:
        made = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"example: clippan-lite {name} {example}".rstrip(),
            formatter_class=RawDescriptionHelpFormatter,
        )
        made.set_defaults(command=function)
        return made

    scene = "pan.tif ms.tif {} --sensor WV2"
    chain = command("chain", _chain, "run all notebooks, and write a report", "-p scene rotterdam")
    _chain_options(chain)
    text = "train a fusion network on two GeoTIFFs, without a true image"
    train = command("train", _train, text, scene.format("runs/net"))
    _pair_options(train, "folder to write")
    _train_options(train)
    text = "fuse two GeoTIFFs of any size into one GeoTIFF"
    fuse = command("fuse", _fuse, text, scene.format("fused.tif"))
    _pair_options(fuse, "GeoTIFF to write (cloud-optimised)")
    _fuse_options(fuse)
    text = "print the quality figures of a fused image, whichever program made it"
    example = "fused.tif --pan pan.tif --ms ms.tif --sensor WV2"
    measure = command("measure", _measure, text, example)
    _measure_options(measure)
    text = "run a study, or what is missing of it, and write its table"
    sweep = command("sweep", _sweep, text, "A_losses")
    _sweep_options(sweep)
    text = "say what is installed, what is wrong, and what to do about it"
    command("check", _check, text, "")
    text = "list the cameras, or print one to copy"
    sensors = command("sensors", _sensors, text, "--show WV2")
    _text(sensors, "file", "FILE", "a TOML file with cameras of your own", "?")
    _text(sensors, "--show", "NAME", "print this camera as TOML, with its sources")
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
    _text(chain, "--pan", "FILE", "panchromatic GeoTIFF (default: a synthetic scene)")
    _text(chain, "--ms", "FILE", "multispectral GeoTIFF of the same area")
    _text(chain, "--sensor", "NAME", SENSOR_HELP)
    _text(chain, "--out", "DIR", "run folder, empty or new (default: runs/SCENE-TIME)")
    chain.add_argument("--resume", action="store_true", help="go on with the run in --out")
    chain.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        metavar=("NAME", "VALUE"),
        action="append",
        default=[],
        help="set a parameter of the notebooks; give -p once for each",
    )


def _pair_options(command: ArgumentParser, out: str) -> None:
    _text(command, "pan", "PAN", "panchromatic GeoTIFF")
    _text(command, "ms", "MS", "multispectral GeoTIFF of the same area")
    _text(command, "out", "OUT", out)
    command.add_argument("--sensor", required=True, metavar="NAME", help=SENSOR_HELP)
    command.add_argument(
        "--convention",
        default="benchmark",
        help="where MS lies on PAN's grid: benchmark (default, as toolboxes) or geo (as maps)",
    )
    command.add_argument(
        "--register", action="store_true", help="first shift PAN so that it lies on MS"
    )
    _bands_option(command)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")


def _bands_option(command: ArgumentParser) -> None:
    text = "MS's bands in the sensor's order (3,2,1,4), or their names in the file's (R,G,B,NIR)"
    _text(command, "--bands", "LIST", f"{text} (default: what the file says)")


def _train_options(train: ArgumentParser) -> None:
    known = "course, scratch, quick, paper or best (best)"
    train.add_argument("--recipe", default="best", metavar="NAME", help=known)
    _text(train, "--backbone", "NAME", "fusion network (default: the recipe's)")
    _number(train, "--steps", None, "steps of training (default: the recipe's)")
    _number(train, "--seed", 0, "seed of all random choices")
    _text(train, "--start", "FILE", 'network to begin with, or its run folder, or "bundled"')


def _fuse_options(fuse: ArgumentParser) -> None:
    how = fuse.add_mutually_exclusive_group()
    how.add_argument(
        "--checkpoint", metavar="RUN", help="a network that train or a chain made: file or folder"
    )
    how.add_argument(
        "--method",
        metavar="NAME",
        help="a classical method, such as gsa (default: the included network)",
    )
    how.add_argument(
        "--adapt",
        action="store_true",
        help="first train the included network on the scene, and keep it in OUT.adapted",
    )
    _text(fuse, "--dtype", "NAME", "data type of OUT, such as float32 (default: that of MS)")
    _number(fuse, "--rounds", 0, "rounds of back-projection after --method; 1 is safe")
    _number(fuse, "--window", 2048, "side of a window in PAN pixels")
    fuse.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    _worker_options(fuse)


def _measure_options(measure: ArgumentParser) -> None:
    _text(measure, "fused", "FUSED", "GeoTIFF on PAN's grid with MS's bands")
    for name, text in (("--pan", "panchromatic GeoTIFF"), ("--ms", "multispectral GeoTIFF")):
        measure.add_argument(name, metavar="FILE", required=True, help=text)
    measure.add_argument("--sensor", required=True, metavar="NAME", help=SENSOR_HELP)
    _text(measure, "--truth", "FILE", "GeoTIFF of the true image, where it is known")
    measure.add_argument(
        "--convention", default="benchmark", help="as it was fused: benchmark or geo"
    )
    measure.add_argument(
        "--register", action="store_true", help="give it if the image was fused with it"
    )
    _bands_option(measure)
    forms = ("table", "json", "csv")
    measure.add_argument("--format", default="table", choices=forms, help="table by default")


def _worker_options(command: ArgumentParser) -> None:
    _number(command, "--workers", 1, "processes of a local dask cluster")
    _text(command, "--scheduler", "ADDRESS", "a running dask scheduler, such as tcp://host:8786")


def _sweep_options(sweep: ArgumentParser) -> None:
    _text(sweep, "study", "STUDY", "a TOML file, or an included study, such as A_losses")
    sweep.add_argument(
        "--full", action="store_true", help="the full form (hours) instead of the quick one"
    )
    _text(sweep, "--out", "DIR", "folder to write or to go on in (default: runs/sweep-STUDY-FORM)")
    _worker_options(sweep)
    sweep.add_argument(
        "--direct",
        action="store_true",
        help="run points in this process, without a notebook for each",
    )
    _text(sweep, "--device", "NAME", "auto, cpu or cuda (default: the study's, else auto)")
    _number(sweep, "--minutes", None, "begin no new point after so many minutes", float)


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
    device = devices.pick(arguments.device)
    how = (arguments.convention, arguments.register, device, arguments.bands)
    return train_on_files(*pair, out, config, adapt, *how)


def _fuse(arguments: Namespace) -> int:
    from clippan_lite import backbones, checkpoints
    from clippan_lite.config import recipe
    from clippan_lite.large_scenes import fusing
    from clippan_lite.runtime import devices

    scene = (arguments.pan, arguments.ms, arguments.out, arguments.sensor)
    checked = ("convention", "window", "method", "rounds", "dtype", "bands")
    others = ("register", "workers", "scheduler", "dry_run")
    options = {name: getattr(arguments, name) for name in (*checked, *others)}
    network, device, path = None, "cpu", None
    tags: dict[str, object] = {}
    if arguments.checkpoint:
        path = checkpoints.find_network(arguments.checkpoint)
        print(f"network: {path}")
    elif arguments.adapt:
        # Training is slow, so it comes behind all checks.
        grid = fusing.check_scene(*scene, **{name: options[name] for name in checked})
        backbones.check_ratio(grid.sensor.ratio)
        if arguments.dry_run:
            print(f"the included network would first be trained, into {arguments.out}.adapted")
    if arguments.adapt and not arguments.dry_run:
        path = _trained(arguments, f"{arguments.out}.adapted", recipe("best"))
    if path:
        network, tags = checkpoints.load_network(path), {"CHECKPOINT": path.name}
        device = devices.pick(arguments.device)
    fusing.fuse_scene(*scene, network=network, device=device, tags=tags, **options)
    if not arguments.dry_run:
        print(f"fused: {arguments.out}")
    return 0


def _measure(arguments: Namespace) -> int:
    from clippan_lite.large_scenes import measuring

    pair = (arguments.pan, arguments.ms, arguments.sensor)
    how = {name: getattr(arguments, name) for name in ("truth", "convention", "register", "bands")}
    # Figures alone go to other programs, notes to the terminal.
    with contextlib.redirect_stdout(console.Once(sys.stderr)):
        rows = measuring.measure(arguments.fused, *pair, **how)
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
