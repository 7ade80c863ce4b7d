"""Where files say that their pixels lie: coordinate systems, RPCs and ground control points."""

from __future__ import annotations

import copy
import re
from typing import Any

from rasterio import Affine, DatasetReader
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import CRSError

#: Parts of a PROJ text that do not move a pixel on the ground.
NO_PLACE = ("geoidgrids", "geoid_crs", "vunits", "vto_meter", "no_defs", "wktext", "type", "title")


def apart(pan: Affine, ms: Affine) -> tuple[float, float]:
    """How far below and right of PAN's corner MS starts, PAN pixels; no grid is turned."""
    return (ms.f - pan.f) / pan.e, (ms.c - pan.c) / pan.a


def same_crs(one: CRS | None, other: CRS | None) -> bool:
    """Whether two coordinate systems put pixels at one place; names and heights do not count."""
    if one is None or other is None:
        return one is other
    return one == other or (_projection(one) == _projection(other) != {})


def crs_name(crs: CRS | None) -> str:
    """A coordinate system in a few words."""
    if crs is None:
        return "no CRS"
    authority = crs.to_authority()
    if authority:
        return ":".join(authority)
    named = re.match(r'\w+\["([^"]+)"', crs.to_wkt())
    return named[1] if named else "a CRS without a name"


def _projection(crs: CRS) -> dict[str, Any]:
    """What decides the place of a pixel: the projection's PROJ parameters."""
    try:
        wkt = crs.to_wkt()
        flat = CRS.from_wkt(_horizontal(wkt))
    except CRSError:
        return {}
    return {
        key: value for key, value in flat.to_dict(projjson=False).items() if key not in NO_PLACE
    }


def _horizontal(wkt: str) -> str:
    """The first part of a compound system, which is the horizontal one; others as they are."""
    start = wkt.find("[", wkt.find(",")) if wkt.startswith(("COMPD_CS", "COMPOUNDCRS")) else -1
    if start < 0:
        return wkt
    depth, quoted, first = 0, False, wkt.rfind(",", 0, start) + 1
    for place in range(start, len(wkt)):
        quoted ^= wkt[place] == '"'
        depth += 0 if quoted else (wkt[place] == "[") - (wkt[place] == "]")
        if depth == 0:
            return wkt[first : place + 1]
    return wkt


def of_pan(pan: DatasetReader, top: float, left: float) -> dict[str, Any]:
    """RPCs, ground control points and tags of PAN that belong to a result, for ``Pair.georef``.

    Args:
        pan: the open file.
        top: row of PAN where the result begins.
        left: column of PAN where it begins.
    """
    found: dict[str, Any] = {}
    if pan.rpcs is not None:
        found["rpcs"] = pan.rpcs
    points, crs = pan.gcps
    if points:
        found["gcps"] = (points, crs)
    if pan.tags().get("AREA_OR_POINT") == "Point":
        found["tags"] = {"AREA_OR_POINT": "Point"}
    return found | moved(found, -top, -left)


def moved(georef: dict[str, Any], down: float, right: float) -> dict[str, Any]:
    """RPCs and ground control points of content that has been moved by so many PAN pixels."""
    found: dict[str, Any] = {}
    if "rpcs" in georef:
        found["rpcs"] = copy.copy(georef["rpcs"])
        found["rpcs"].line_off += down
        found["rpcs"].samp_off += right
    if "gcps" in georef:
        points, crs = georef["gcps"]
        found["gcps"] = ([_moved_point(point, down, right) for point in points], crs)
    return found


def _moved_point(point: GroundControlPoint, down: float, right: float) -> GroundControlPoint:
    return GroundControlPoint(
        row=point.row + down,
        col=point.col + right,
        x=point.x,
        y=point.y,
        z=point.z,
        id=point.id,
        info=point.info,
    )
