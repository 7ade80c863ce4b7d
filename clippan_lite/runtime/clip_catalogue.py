"""CLIPs by name: what ``clips.toml`` says of each, and its file, fetched once from the hub."""

from __future__ import annotations

import functools
import hashlib
import tomllib
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "clips.toml"


@functools.cache
def entries() -> dict[str, dict[str, Any]]:
    """Name -> architecture, hub, file, licence and paper. Texts, but for ``bands``."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def resolve(
    name: str, pretrained: str | Path | None, fetch: bool = True
) -> tuple[str, str | Path | None]:
    """The architecture and the weights that a name stands for.

    Args:
        name: of the catalogue; any other comes back as it is.
        pretrained: a file of one's own; None or "" fetches the catalogue's.
        fetch: whether weights are wanted at all.

    Returns:
        open_clip's architecture, and a file.

    Raises:
        ValueError: a CLIP whose input is not three channels.
        FileNotFoundError: the file could not be fetched, or must be got by hand; says how.
        OSError: the file that was fetched has another checksum.
    """
    entry = entries().get(name)
    if entry is None:
        return name, pretrained
    if entry.get("bands", 3) != 3:
        found = "any number" if entry["bands"] < 0 else entry["bands"]
        raise ValueError(
            f"{name} takes {found} bands as input: expected a CLIP of three channels, because "
            "the stems lead there; take remoteclip-vit-b-32 or another of the catalogue"
        )
    if fetch and not pretrained:
        pretrained = _fetched(name, entry)
    return entry["architecture"], pretrained


def _fetched(name: str, entry: dict[str, Any]) -> Path:
    """The weights file of an entry, from the hub's cache or the hub."""
    page = f"https://huggingface.co/{entry['hub']}" if "hub" in entry else ""
    then = f"then pass it: clip = {name!r}, clip_pretrained = <file>"
    if "file" not in entry:
        where = f" ({page})" if page else ""
        raise FileNotFoundError(f"{name} cannot be fetched: {entry['by_hand']}{where}; {then}")
    from huggingface_hub import hf_hub_download  # open_clip brings it

    try:
        path = Path(hf_hub_download(entry["hub"], entry["file"], revision=entry.get("commit")))
    except Exception as error:  # of many kinds: no network, no such file, no such version
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise FileNotFoundError(
            f"{name} could not be fetched ({reason}); get {entry['file']} from {page} by hand, "
            + then
        ) from error
    _check(path, name, entry.get("sha256"))
    return path


def _check(path: Path, name: str, expected: str | None) -> None:
    if expected is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise OSError(
            f"{name}: {path.name} has the sha256 {found[:12]}, expected {expected[:12]}: delete it "
            f"({path}), and run again"
        )
