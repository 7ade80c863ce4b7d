"""``python -m data_download list`` and ``python -m data_download get NAME``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_download import fetch
from data_download.registry import ENTRIES, Entry


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes the process's.

    Returns:
        Exit code: 0 done, 2 wrong input or no download, 130 interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m data_download", description="Open PAN / MS imagery on demand.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="what can be downloaded, with licences")
    get = commands.add_parser("get", help="download one entry")
    get.add_argument("name", metavar="NAME")
    get.add_argument("--out", metavar="DIR", type=Path, help="where to put it (default: CLIPPAN_HOME/data/NAME)")
    get.add_argument("--offline", action="store_true", help="only use what is there already")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "list":
            for name, entry in ENTRIES.items():
                print(f"{name}\n  {entry.sensor}: {entry.content}\n  licence: {entry.licence}")
            return 0
        if arguments.name not in ENTRIES:
            raise ValueError(f"unknown data set {arguments.name}: known are {', '.join(ENTRIES)}")
        home = Path(os.environ.get("CLIPPAN_HOME") or "~/.cache/clippan-lite").expanduser()
        get_entry(
            arguments.name, ENTRIES[arguments.name], arguments.out or home / "data" / arguments.name, arguments.offline
        )
    except KeyboardInterrupt:
        print("data_download: interrupted, nothing was kept", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"data_download: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


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
        if entry.md5 and (found := fetch.md5_of(target)) != entry.md5:
            raise ValueError(f"{target} has MD5 {found}, expected {entry.md5}: remove it and get it again")
        print(f"there already: {target}")
    elif offline:
        raise FileNotFoundError(f"{target} is not there: run python -m data_download get {name} without --offline")
    else:
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
