"""``python -m data_download list``, ``get NAME`` and ``check``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_download import fetch, scenes
from data_download.registry import ENTRIES, Chips, Entry, Synthetic, Window, find


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes the process's.

    Returns:
        Exit code: 0 done, 1 `check` found damage, 2 wrong input or no download, 130 interrupted.
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
            show(arguments.words)
        elif arguments.command == "check":
            return check(home)
        else:
            if arguments.name not in ENTRIES:
                raise ValueError(
                    f"unknown data set {arguments.name}: known are {', '.join(ENTRIES)}"
                )
            given = {name: getattr(arguments, name) for name in ("chip", "row", "col", "size")}
            options = {name: value for name, value in given.items() if value is not None}
            # Different choices of one entry lie beside each other.
            suffix = "".join(f"-{name}{value}" for name, value in options.items())
            out = arguments.out or home / (arguments.name + suffix)
            get_any(arguments.name, ENTRIES[arguments.name], out, arguments.offline, options)
    except KeyboardInterrupt:
        print("data_download: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"data_download: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def show(words: Sequence[str]) -> None:
    """Print the entries that mention all words.

    Raises:
        ValueError: no entry does.
    """
    from clippan_lite.physics import sensors

    found = find(*words)
    if not found:
        raise ValueError(f"nothing mentions {' '.join(words)}: list without words shows all")
    for name, entry in found.items():
        camera = sensors.get(entry.sensor)
        bits = getattr(entry, "bits", camera.bits)
        print(f"{name}\n  {entry.sensor}: {entry.content}")
        print(f"  bands {' '.join(camera.bands)}, ratio {camera.ratio}, {bits} bit")
        print(f"  licence: {entry.licence}")


def get_any(
    name: str,
    entry: Entry | Chips | Window | Synthetic,
    out: Path,
    offline: bool = False,
    options: dict[str, int] | None = None,
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
    options = options or {}
    _check_options(name, entry, options)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: give a folder as --out")
    if isinstance(entry, Entry):
        return get_entry(name, entry, out, offline)
    print(f"{name}: {entry.content}\nlicence: {entry.licence}\ncite: {entry.citation}")
    facts, state = out / "scene.json", "not there"
    if facts.is_file() and scenes.is_whole(out):
        chosen = json.loads(facts.read_bytes()).get("chosen", {})
        if options and chosen != options:
            raise ValueError(
                f"{out} holds another choice ({chosen or 'the default'}): give another --out"
            )
        scenes.clear(out)
        print(f"there already: {out}")
        return out
    if facts.is_file():
        state = "damaged"  # what is left stays until new files are there
        print(f"{out} is damaged{'' if offline else ': getting it again'}")
    scenes.check_folder(out)
    by_hand = "" if isinstance(entry, Synthetic) else _by_hand(entry, out)
    if by_hand and offline:
        raise FileNotFoundError(f"{out} is {state}: get it without --offline, or {by_hand}")
    with _failing_with(by_hand, out), scenes.scratch(out) as made:
        if isinstance(entry, Synthetic):
            _make(entry, made)
        elif isinstance(entry, Chips):
            scenes.get_chip(name, entry, made, options.get("chip"))
        else:
            scenes.get_window(name, entry, made, options)
        scenes.put(made, out)
    print(f"scene: {out}")
    return out


def _make(entry: Synthetic, out: Path) -> None:
    from clippan_lite.data import geotiff, synthetic

    pair = synthetic.make_scene(entry.seed, entry.size, entry.sensor)
    geotiff.write_pair(out, pair, source="clippan_lite.data.synthetic", licence=entry.licence)


def _check_options(
    name: str, entry: Entry | Chips | Window | Synthetic, options: dict[str, int]
) -> None:
    """Refuse options that this kind of entry does not have, and impossible values (ValueError)."""
    allowed = {Chips: ("chip",), Window: ("row", "col", "size")}.get(type(entry), ())
    for option, value in options.items():
        if option not in allowed:
            choices = ", ".join(f"--{possible}" for possible in allowed) or "it has no choices"
            raise ValueError(f"{name} takes no --{option}: {choices}")
        least = 1 if option == "size" else 0
        if value < least:
            raise ValueError(f"--{option} must be {least} or more, found {value}")


def _by_hand(entry: Chips | Window, out: Path) -> str:
    """How to get the same files without this program."""
    urls = (
        [f"{entry.bucket}/{entry.pan}*.tif"] if isinstance(entry, Chips) else [entry.pan, *entry.ms]
    )
    facts = json.dumps({"sensor": entry.sensor, "bits": entry.bits, "convention": "geo"})
    return (
        f"put pan.tif, ms.tif (from {', '.join(urls)}) and a scene.json like {facts} into {out} "
        "by hand"
    )


@contextlib.contextmanager
def _failing_with(by_hand: str, out: Path) -> Iterator[None]:
    """Say how to do it by hand, if there is a way, when it fails; and leave no empty folder."""
    existed = out.exists()
    try:
        yield
    except OSError as error:
        raise OSError(f"{error}; or {by_hand}" if by_hand else str(error)) from error
    finally:
        if not existed:
            with contextlib.suppress(OSError):  # it is not empty
                out.rmdir()


def check(home: Path) -> int:
    """Print what is in a folder and whether it is whole; returns 1 if something is not."""
    damaged = 0
    folders = sorted(home.iterdir()) if home.is_dir() else []
    for folder in folders:
        names = [name for name in ENTRIES if folder.name.startswith(name)]
        if names:
            state = _state(ENTRIES[max(names, key=len)], folder)
            damaged += state.startswith(("missing", "DAMAGED"))
            print(f"{folder.name}: {state}")
    if not folders:
        print(f"nothing in {home} yet: python -m data_download list")
    return 1 if damaged else 0


def _state(entry: Entry | Chips | Window | Synthetic, folder: Path) -> str:
    """Whether an entry's folder is whole, in words."""
    if not isinstance(entry, Entry):
        whole = scenes.is_whole(folder)
        return "whole" if whole else "DAMAGED or incomplete: the same get mends it"
    file = folder / entry.filename
    if not file.is_file():
        return "missing"
    try:
        _verify(entry, file)
    except ValueError:
        return "DAMAGED: remove it and get it again"
    return "whole" if entry.checksum else "can be read; no checksum is published"


def _verify(entry: Entry, file: Path) -> None:
    """Compare a file with the published checksum. Without one, read it to its end.

    Raises:
        ValueError: another checksum, or a file that cannot be read to its end.
    """
    if entry.checksum is None:
        try:
            fetch.verify(file)
        except ValueError as error:
            raise ValueError(f"{error}: remove {file} and get it again") from None
        return
    found = fetch.hash_of(file, entry.checksum)
    if found != entry.checksum:
        raise ValueError(
            f"{file} has the checksum {found}, expected {entry.checksum}: remove it and get it "
            "again"
        )


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
        _verify(entry, target)
        scenes.clear(out)
        print(f"there already: {target}")
    elif offline:
        raise FileNotFoundError(
            f"{target} is not there: run python -m data_download get {name} without --offline, "
            f"or put {entry.url} there"
        )
    else:
        by_hand = f"put {entry.url} at {target} by hand"
        with _failing_with(by_hand, out), scenes.scratch(out) as made:
            os.replace(fetch.download(entry.url, made / target.name, entry.checksum), target)
        print(
            f"downloaded: {target}{'' if entry.checksum else ' (no checksum is published for it)'}"
        )
    if not entry.unpack:
        return target
    if not folder.exists():
        with scenes.scratch(out) as made:
            os.replace(fetch.unpack(target, made / "files"), folder)
    print(f"unpacked: {folder}")
    return folder


if __name__ == "__main__":
    sys.exit(main())
