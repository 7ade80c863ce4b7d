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
        Exit code: 0 done, 1 a notebook failed or `check` found problems, 2 wrong input, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except KeyboardInterrupt:
        print("clippan-lite: interrupted; --resume with the same --out goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        print(f"clippan-lite: {_one_line(error)}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clippan-lite", description="Unsupervised pansharpening supervised by CLIP and a sentence."
    )
    parser.add_argument("--version", action="version", version=f"clippan-lite {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    chain = commands.add_parser("chain", help="run all notebooks in order into a run folder, and make the report")
    chain.add_argument("--pan", metavar="FILE", help="panchromatic GeoTIFF (default: the embedded synthetic scene)")
    chain.add_argument("--ms", metavar="FILE", help="multispectral GeoTIFF of the same area")
    chain.add_argument(
        "--sensor", metavar="NAME", help="sensor of the pair, a name or a TOML file: clippan-lite sensors"
    )
    chain.add_argument("--out", metavar="DIR", help="run folder, empty or new (default: runs/SCENE-TIME)")
    chain.add_argument("--resume", action="store_true", help="go on with the run in --out, same parameters")
    chain.add_argument(
        "-p", dest="parameters", nargs=2, metavar=("NAME", "VALUE"), action="append", default=[],
        help="set a parameter of the notebooks, may be repeated",
    )  # fmt: skip
    chain.set_defaults(command=_chain)

    check = commands.add_parser("check", help="versions, device, weights, folders, and what is wrong")
    check.set_defaults(command=_check)
    sensors = commands.add_parser("sensors", help="the sensor table, or one entry to copy")
    sensors.add_argument(
        "file", nargs="?", metavar="FILE", help="a sensor file of your own (default: the built-in ones)"
    )
    sensors.add_argument("--show", metavar="NAME", help="print one sensor as TOML, with its sources")
    sensors.set_defaults(command=_sensors)
    return parser


def _chain(arguments: argparse.Namespace) -> int:
    from clippan_lite import chain

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


def _check(_: argparse.Namespace) -> int:
    from clippan_lite import check

    lines, problems = check.report()
    print("\n".join(lines))
    print("\n".join(f"problem: {problem}" for problem in problems) or "Everything is ready.")
    return 1 if problems else 0


def _sensors(arguments: argparse.Namespace) -> int:
    from clippan_lite import sensors

    if arguments.show and arguments.file:
        raise ValueError(f"--show and a file are both given: give --show {arguments.file} for a sensor of that file")
    if arguments.show:
        print(sensors.to_toml(sensors.get(arguments.show)), end="")
        return 0
    head = ("sensor", "ratio", "bits", "bands (file order)", "MTF gain MS", "PAN", "assumed")
    rows = [head]
    for s in (sensors.load(arguments.file) if arguments.file else sensors.SENSORS).values():
        gains = sorted(set(s.mtf_ms))
        spread = f"{gains[0]:.3g}" if len(gains) == 1 else f"{gains[0]:.3g}-{gains[-1]:.3g}"
        rows.append(
            (s.name, str(s.ratio), str(s.bits), " ".join(s.bands), spread, f"{s.mtf_pan:.3g}", " ".join(s.assumed))
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
