"""``python -m data_download list``, ``get NAME`` and ``check``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_download import fetch
from data_download import scenes as scenes_
from data_download.registry import ENTRIES, Chips, Entry, Synthetic, Window, find


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes the process's.

    Returns:
        Exit code: 0 done, 2 wrong input or no download, 130 interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="python -m data_download", description="Open PAN / MS imagery on demand."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="what can be downloaded, with licences")
    listing.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="only entries that mention all of these: wv3 chip by-sa",
    )
    get = commands.add_parser("get", help="download one entry")
    get.add_argument("name", metavar="NAME")
    get.add_argument(
        "--out", metavar="DIR", type=Path, help="where to put it (default: CLIPPAN_HOME/data/NAME)"
    )
    get.add_argument("--offline", action="store_true", help="only use what is there already")
    get.add_argument("--chip", type=int, metavar="N", help="number of a chip (default: the first)")
    for what in ("row", "col", "size"):
        get.add_argument(f"--{what}", type=int, metavar="N", help="of a window, PAN pixels")
    commands.add_parser("check", help="what is there, and whether it is whole")
    arguments = parser.parse_args(argv)
    home = Path(os.environ.get("CLIPPAN_HOME") or "~/.cache/clippan-lite").expanduser() / "data"
    try:
        if arguments.command == "list":
            from clippan_lite.physics import sensors

            found = find(*arguments.words)
            for name, entry in found.items():
                camera = sensors.get(entry.sensor)
                numbers = f"ratio {camera.ratio}, {getattr(entry, 'bits', camera.bits)} bit"
                print(
                    f"{name}\n  {entry.sensor}: {entry.content}\n  bands {' '.join(camera.bands)}, {numbers}"
                )
                print(f"  licence: {entry.licence}")
            if not found:
                raise ValueError(
                    f"nothing mentions {' '.join(arguments.words)}: list without words shows all"
                )
        elif arguments.command == "check":
            return check(home)
        else:
            if arguments.name not in ENTRIES:
                raise ValueError(
                    f"unknown data set {arguments.name}: known are {', '.join(ENTRIES)}"
                )
            options = {n: getattr(arguments, n) for n in ("chip", "row", "col", "size")}
            options = {name: value for name, value in options.items() if value is not None}
            beside = "".join(
                f"-{name}{value}" for name, value in options.items()
            )  # choices lie beside each other
            out = arguments.out or home / (arguments.name + beside)
            get_any(arguments.name, ENTRIES[arguments.name], out, arguments.offline, options)
    except KeyboardInterrupt:
        print("data_download: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"data_download: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def get_any(
    name: str,
    entry: Entry | Chips | Window | Synthetic,
    out: Path,
    offline: bool = False,
    options: dict | None = None,
) -> Path:
    """Get one entry of any kind.

    Args:
        name: its key in the registry.
        entry: what to get.
        out: folder for it.
        offline: do not use the network.
        options: ``chip`` of :class:`Chips`; ``row``, ``col``, ``size`` of :class:`Window`.

    Returns:
        The scene folder; of an :class:`Entry` the file, or the folder of its archive.

    Raises:
        FileNotFoundError: offline and not there.
        ValueError: an option that this kind does not have, or what the kind itself refuses.
        OSError: the download failed.
    """
    allowed = {Chips: ("chip",), Window: ("row", "col", "size")}.get(type(entry), ())
    for option in options or {}:
        if option not in allowed:
            raise ValueError(
                f"{name} takes no --{option}: {', '.join(f'--{a}' for a in allowed) or 'it has no choices'}"
            )
    for option, value in (options or {}).items():
        if value < (1 if option == "size" else 0):
            raise ValueError(
                f"--{option} must be {1 if option == 'size' else 0} or more, found {value}"
            )
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: give a folder as --out")
    if isinstance(entry, Entry):
        return get_entry(name, entry, out, offline)
    print(f"{name}: {entry.content}\nlicence: {entry.licence}\ncite: {entry.citation}")
    state = "not there"
    if (out / "scene.json").is_file() and not scenes_.is_whole(out):
        state = "damaged"  # what is left of it stays until new files are there
        print(f"{out} is damaged{'' if offline else ': getting it again'}")
    elif (out / "scene.json").is_file():
        there = json.loads((out / "scene.json").read_text(encoding="utf-8")).get("chosen", {})
        if options and there != options:
            raise ValueError(
                f"{out} holds another choice ({there or 'the default'}): give another --out"
            )
        print(f"there already: {out}")
        return out
    scenes_.check_folder(out)
    if isinstance(entry, Synthetic):
        from clippan_lite.data import geotiff, synthetic

        pair = synthetic.make_scene(entry.seed, entry.size, entry.sensor)
        geotiff.write_pair(out, pair, source="clippan_lite.data.synthetic", licence=entry.licence)
    else:
        urls = (
            [f"{entry.bucket}/{entry.pan}*.tif"]
            if isinstance(entry, Chips)
            else [entry.pan, *entry.ms]
        )
        by_hand = (
            f"put pan.tif, ms.tif (from {', '.join(urls)}) and a scene.json like "
            f'{{"sensor": "{entry.sensor}", "bits": {entry.bits}, "convention": "geo"}} into {out} by hand'
        )
        if offline:
            raise FileNotFoundError(f"{out} is {state}: get it without --offline, or {by_hand}")
        with _or(by_hand, out):
            if isinstance(entry, Chips):
                scenes_.get_chip(name, entry, out, (options or {}).get("chip"))
            else:
                scenes_.get_window(name, entry, out, options or {})
    print(f"scene: {out}")
    return out


@contextlib.contextmanager
def _or(by_hand: str, out: Path) -> Iterator[None]:
    """Tell the way by hand when a download fails, and leave no empty folder."""
    was_there = out.exists()
    try:
        yield
    except OSError as error:
        raise OSError(f"{error}; or {by_hand}") from error
    finally:
        if not was_there:
            with contextlib.suppress(OSError):  # it is not empty
                out.rmdir()


def check(home: Path) -> int:
    """Print what is below a folder and whether it is whole; returns 1 if something is not."""
    bad = 0
    for folder in sorted(home.iterdir()) if home.is_dir() else []:
        names = [name for name in ENTRIES if folder.name.startswith(name)]
        if names:
            entry = ENTRIES[max(names, key=len)]
            if isinstance(entry, Entry):
                file = folder / entry.filename
                state = "missing" if not file.is_file() else "whole"
                try:
                    if file.is_file():
                        state = (
                            "whole"
                            if _checked(entry, file)
                            else "can be read; no checksum is published"
                        )
                except ValueError:
                    state = "DAMAGED: remove it and get it again"
            else:
                state = (
                    "whole"
                    if scenes_.is_whole(folder)
                    else "DAMAGED or incomplete: the same get mends it"
                )
            bad += state == "missing" or state.startswith("DAMAGED")
            print(f"{folder.name}: {state}")
    if not (home.is_dir() and any(home.iterdir())):
        print(f"nothing in {home} yet: python -m data_download list")
    return 1 if bad else 0


def _checked(entry: Entry, file: Path) -> bool:
    """Whether a file has the published checksum; without one, whether there is any.

    Raises:
        ValueError: another checksum, or a file that cannot be read to its end.
    """
    if entry.md5 is None:
        try:
            fetch.verify(file)
        except ValueError as error:
            raise ValueError(f"{error}: remove {file} and get it again") from None
    elif (found := fetch.md5_of(file)) != entry.md5:
        raise ValueError(
            f"{file} has MD5 {found}, expected {entry.md5}: remove it and get it again"
        )
    return entry.md5 is not None


def get_entry(name: str, entry: Entry, out: Path, offline: bool = False) -> Path:
    """Download (if needed), check and unpack one entry.

    Args:
        name: its key in the registry, for messages.
        entry: what to fetch.
        out: folder for the file, and for ``files/`` if it is an archive.
        offline: do not use the network.

    Returns:
        The file, or the folder of the unpacked archive.

    Raises:
        FileNotFoundError: offline and not there.
        ValueError: another checksum than expected, or an unusable archive.
        OSError: the download failed.
    """
    print(f"{name}: {entry.content}\nlicence: {entry.licence}\ncite: {entry.citation}")
    target, folder = out / entry.filename, out / "files"
    if target.is_file():
        _checked(entry, target)
        print(f"there already: {target}")
    elif offline:
        raise FileNotFoundError(
            f"{target} is not there: run python -m data_download get {name} without --offline, or put {entry.url} there"
        )
    else:
        with _or(f"put {entry.url} at {target} by hand", out):
            fetch.download(entry.url, target, entry.md5)
        print(f"downloaded: {target}{'' if entry.md5 else ' (no checksum is published for it)'}")
    if not entry.unpack:
        return target
    if not folder.exists():
        fetch.unpack(target, folder)
    print(f"unpacked: {folder}")
    return folder


if __name__ == "__main__":
    sys.exit(main())
