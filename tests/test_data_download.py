import ast
import contextlib
import errno
import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import time
import urllib.parse
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from filelock import FileLock

import data_download
from data_download import __main__ as command
from data_download import fetch, registry
from data_download import scenes as remote

CONTENT = bytes(range(256)) * 400  # 102 400 bytes


class Handler(http.server.SimpleHTTPRequestHandler):
    """A local server with ranges, listings and a few misbehaving addresses."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0]
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        if path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"only this")
            self.close_connection = True
        elif path == "/slow":
            time.sleep(3)
        elif path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/file")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/moved":
            self.send_response(301)
            self.send_header("Location", "/image.bin")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/":
            self.listing()
        else:
            self.file(path)

    do_HEAD = do_GET

    def file(self, path):
        file = Path(self.directory) / path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        content, tag = file.read_bytes(), f'"{hashlib.md5(file.read_bytes()).hexdigest()}"'
        first, last, wanted = 0, len(content) - 1, self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, tag) or self.server.forgets
        if wanted and same:
            a, b = wanted.removeprefix("bytes=").split("-")
            first, last = int(a), min(int(b or last), last)
        if first >= len(content):
            self.send_error(416)
            return
        body = content[first : last + 1]
        self.send_response(206 if wanted and same else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        if wanted and same:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.breaks > 0 and len(body) > 50_000:  # the line goes dead half way
            self.server.breaks -= 1
            self.wfile.write(body[:40_000])
            self.close_connection = True
            return
        self.wfile.write(body)

    def listing(self):
        """ListObjectsV2, two keys to a page."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        root, prefix = Path(self.directory), query["prefix"][0]
        found = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.tif"))
        found = [key for key in found if key.startswith(prefix)]
        start = int(query.get("continuation-token", ["0"])[0])
        page = "".join(
            f"<Contents><Key>{key}</Key><Size>1</Size></Contents>"
            for key in found[start : start + 2]
        )
        more = (
            f"<NextContinuationToken>{start + 2}</NextContinuationToken>"
            if start + 2 < len(found)
            else ""
        )
        space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        body = f"<ListBucketResult {space}>{page}{more}</ListBucketResult>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    breaks = 0  # how many more answers break off
    forgets = False  # to look at If-Range

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def running(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "image.bin").write_bytes(CONTENT)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("a/one.tif", b"1")
        archive.writestr("two.tif", b"2")
    running = Server(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    running.asked, running.folder = [], folder
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def server(running):
    return running.url


def entry(url, **more):
    return registry.Entry("WV3", "two images", "CC0", "nobody 2024", url, **more)


def test_download_checks_and_keeps(server, tmp_path):
    md5 = hashlib.md5(CONTENT).hexdigest()
    target = fetch.download(f"{server}/image.bin", tmp_path / "out" / "image.bin", md5)
    assert target.read_bytes() == CONTENT and fetch.hash_of(target, md5) == md5
    assert [p.name for p in target.parent.iterdir()] == ["image.bin"]


@pytest.mark.parametrize(
    ("path", "md5", "error", "match"),
    [
        ("image.bin", "0" * 32, ValueError, "expected 0000"),
        ("nothing.bin", None, OSError, "404"),
        ("short", None, OSError, "the server sent 9 of 5000 bytes.*check the network"),
        ("slow", None, OSError, "timed out.*check the network"),
        ("elsewhere", None, ValueError, "not an https address"),
    ],
)
@pytest.mark.slow
def test_failed_downloads_leave_nothing(server, tmp_path, path, md5, error, match):
    with pytest.raises(error, match=match):
        fetch.download(f"{server}/{path}", tmp_path / "out" / "x.bin", md5, timeout=1, tries=2)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_download_goes_on_where_it_broke_off(running, tmp_path):
    md5, out = hashlib.md5(CONTENT).hexdigest(), tmp_path / "out" / "x.bin"
    running.breaks = 1
    assert fetch.download(f"{running.url}/image.bin", out, md5).read_bytes() == CONTENT
    assert [asked[2] for asked in running.asked] == [None, "bytes=40000-"]
    out.unlink()
    running.breaks, running.asked[:] = 9, []
    with pytest.raises(
        OSError, match=r"40000 of 102400 bytes.*what came is kept: the same command goes on"
    ):
        fetch.download(f"{running.url}/image.bin", out, md5, tries=1)
    assert not out.exists() and len(list(out.parent.iterdir())) == 2
    running.breaks, running.asked[:] = 0, []
    assert fetch.download(f"{running.url}/image.bin", out, md5).read_bytes() == CONTENT
    assert running.asked[0][2] == "bytes=40000-" and [p.name for p in out.parent.iterdir()] == [
        "x.bin"
    ]


def test_a_file_that_changed_meanwhile_is_taken_anew(running, tmp_path):
    out = tmp_path / "out" / "x.bin"
    for running.forgets, content in ((False, CONTENT[::-1]), (True, CONTENT)):
        running.breaks = 9
        with pytest.raises(OSError, match="what came is kept"):
            fetch.download(f"{running.url}/image.bin", out, tries=1)
        running.breaks = 0
        (running.folder / "image.bin").write_bytes(content)
        assert fetch.download(f"{running.url}/image.bin", out).read_bytes() == content
        out.unlink()


@pytest.mark.parametrize("name", ["x.h5", "x.zip", "x.tar.gz", "x.tif"])
def test_what_is_not_what_its_name_says_is_not_kept(running, tmp_path, name):
    out, served = tmp_path / "out", running.folder / name
    wanted = entry(f"{running.url}/{name}", unpack=name.endswith(("zip", "gz")))
    good = {
        "x.tar.gz": lambda: tar_with(served, ("a", b"1" * 9000, tarfile.REGTYPE)),
        "x.h5": lambda: h5(served),
    }
    good |= {"x.zip": lambda: shutil.copy(running.folder / "images.zip", served)}
    good.get(name, lambda: image(served, 1, 128, 0.5, tiled=False))()
    whole = served.read_bytes()
    for bad in (b"<html>please log in</html>", whole[: len(whole) // 2]):
        served.write_bytes(bad)
        with pytest.raises(
            ValueError, match=f"{name} is damaged, or no .* file at all|neither a zip nor a tar"
        ):
            command.get_entry("set", wanted, out)
        assert not out.exists()
    served.write_bytes(whole)
    command.get_entry("set", wanted, out)
    (out / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"remove .* and get it again"):
        command.get_entry("set", wanted, out)


def test_a_failed_download_tells_the_way_by_hand_and_leaves_no_folder(running, tmp_path):
    with pytest.raises(OSError, match=r"404.*; or put .*/gone\.zip at .*gone\.zip by hand"):
        command.get_entry("set", entry(f"{running.url}/gone.zip"), tmp_path / "out")
    chips = registry.Chips("WV3", "a chip", "CC BY", "x 2020", running.url, "train/P", "train/M")
    with pytest.raises(OSError, match=r"lists no chips.*; or put pan\.tif, ms\.tif .* by hand"):
        command.get_any("city", chips, tmp_path / "city")
    assert [p.name for p in tmp_path.iterdir()] == ["served"]


def h5(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["ms"] = np.arange(5000)


def test_a_full_disk_leaves_nothing(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"the disk is full: x\.bin was not kept"):
        fetch.download(f"{server}/image.bin", tmp_path / "out" / "x.bin")
    assert list((tmp_path / "out").iterdir()) == []


def test_redirects_are_followed(server, tmp_path):
    assert fetch.download(f"{server}/moved", tmp_path / "x.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "x"]
)
def test_only_https(url, tmp_path):
    with pytest.raises(ValueError, match="not an https address"):
        fetch.download(url, tmp_path / "out" / "x")
    assert not (tmp_path / "out").exists()


def test_unreachable_server(tmp_path):
    with pytest.raises(OSError, match="check the network"):
        fetch.download("http://127.0.0.1:9/x", tmp_path / "x", timeout=2)
    assert list(tmp_path.iterdir()) == []


def test_get_prints_the_licence_downloads_and_unpacks(server, tmp_path, capsys):
    out = tmp_path / "out"
    folder = command.get_entry("set", entry(f"{server}/images.zip?download=true", unpack=True), out)
    assert folder == out / "files" and (folder / "a" / "one.tif").read_bytes() == b"1"
    text = capsys.readouterr().out
    assert text.index("licence: CC0") < text.index("downloaded:")
    command.get_entry(
        "set", entry("https://example.invalid/images.zip", unpack=True), out, offline=True
    )
    assert "there already" in capsys.readouterr().out


def test_offline_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="get set without --offline"):
        command.get_entry("set", entry("https://example.invalid/x.bin"), tmp_path, offline=True)
    (tmp_path / "x.bin").write_bytes(b"other")
    with pytest.raises(ValueError, match="remove it and get it again"):
        command.get_entry(
            "set", entry("https://example.invalid/x.bin", checksum="0" * 32), tmp_path
        )


def tar_with(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(info, io.BytesIO(content))
    return path


def test_unpacks_tar(tmp_path):
    members = ("d", b"", tarfile.DIRTYPE), ("d/x.tif", b"1", tarfile.REGTYPE)
    folder = fetch.unpack(tar_with(tmp_path / "a.tar.gz", *members), tmp_path / "files")
    assert (folder / "d" / "x.tif").read_bytes() == b"1"
    with pytest.raises(FileExistsError, match="exists"):
        fetch.unpack(tmp_path / "a.tar.gz", folder)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil", tarfile.REGTYPE),
        ("/evil", tarfile.REGTYPE),
        ("a/../../evil", tarfile.REGTYPE),
        ("C:\\evil", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("hard", tarfile.LNKTYPE),
        ("pipe", tarfile.FIFOTYPE),
    ],
)
def test_hostile_tar_leaves_nothing(tmp_path, name, kind):
    archive = tar_with(tmp_path / "a.tar.gz", ("good", b"1", tarfile.REGTYPE), (name, b"", kind))
    with pytest.raises(ValueError, match=r"outside its folder|link or device"):
        fetch.unpack(archive, tmp_path / "deep" / "files")
    assert list((tmp_path / "deep").iterdir()) == [] and not (tmp_path / "evil").exists()


def test_hostile_zip_leaves_nothing(tmp_path):
    for name, mode in (("../evil", 0o100644), ("link", 0o120777)):
        archive = tmp_path / "a.zip"
        with zipfile.ZipFile(archive, "w") as file:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, "/etc/passwd")
        with pytest.raises(ValueError, match=r"outside its folder|holds a link"):
            fetch.unpack(archive, tmp_path / "deep" / "files")
        assert list((tmp_path / "deep").iterdir()) == []


def test_damaged_archives(tmp_path):
    good = tar_with(tmp_path / "good.tar.gz", ("x", b"1" * 100000, tarfile.REGTYPE))
    (tmp_path / "cut.tar.gz").write_bytes(good.read_bytes()[:-60])
    (tmp_path / "text.zip").write_text("no archive")
    for name in ("cut.tar.gz", "text.zip"):
        with pytest.raises(ValueError, match="download it again"):
            fetch.unpack(tmp_path / name, tmp_path / "deep" / "files")
        assert list((tmp_path / "deep").iterdir()) == []


def test_registry_is_complete():
    for name, one in registry.ENTRIES.items():
        assert one.licence and one.citation and one.content and one.sensor, name
        urls = {
            registry.Entry: lambda e: [e.url], registry.Synthetic: lambda e: [],
            registry.Chips: lambda e: [e.bucket], registry.Window: lambda e: [e.pan, *e.ms],
        }[type(one)](one)  # fmt: skip
        for url in urls:
            fetch.check_url(url)
        if isinstance(one, registry.Entry):
            assert one.filename and (one.checksum is None or len(one.checksum) in (32, 64))


def test_command_line(capsys, tmp_path, monkeypatch):
    assert command.main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in registry.ENTRIES) and "licence" in out
    assert command.main(["get", "nonsense"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "known are" in error
    monkeypatch.setenv("CLIPPAN_HOME", str(tmp_path))
    assert command.main(["get", "nbu-ikonos", "--offline"]) == 2
    assert (
        str(tmp_path / "data" / "nbu-ikonos") in capsys.readouterr().err
        and list(tmp_path.iterdir()) == []
    )


def test_needs_no_torch():
    for path in Path(data_download.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                outside = ("tqdm", "filelock", "rasterio", "h5py", "numpy", "data_download")
                lazily = (
                    top == "clippan_lite" and node.col_offset > 0
                )  # in the function that makes a synthetic scene
                assert top in sys.stdlib_module_names or top in outside or lazily, (path.name, name)


# ---------------------------------------------------------------- chips and windows


def image(path, bands, size, pixel, seed=0, offset=0.0, tiled=True, nodata=0):
    """A GeoTIFF of random numbers at a place in UTM; in tiles, as a COG, unless it is small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 10000, (bands, size, size), dtype=np.uint16)
    transform = rasterio.Affine(pixel, 0, 500_000 + offset, 0, -pixel, 4_000_000 - offset)
    tiles = {"tiled": True, "blockxsize": 128, "blockysize": 128} if tiled else {}
    profile = dict(
        driver="GTiff", count=bands, height=size, width=size, dtype="uint16", nodata=nodata, **tiles
    )
    with rasterio.open(path, "w", crs="EPSG:32631", transform=transform, **profile) as file:
        file.write(pixels)
    return pixels


def test_a_chip_becomes_a_scene_folder(running, tmp_path, capsys):
    for number in (3, 7, 40):
        image(running.folder / f"train/PAN/a_PAN_img{number}.tif", 1, 256, 0.5, number, tiled=False)
        if number != 3:
            image(
                running.folder / f"train/MS/a_MS_img{number}.tif", 8, 64, 2.0, number, tiled=False
            )
    image(running.folder / "train/PAN/a_PAN_imgX.tif", 1, 16, 0.5, tiled=False)
    entry = registry.Chips(
        "WV3", "a chip", "CC BY", "x 2020", running.url, "train/PAN/a_PAN_img", "train/MS/a_MS_img"
    )
    assert list(remote.chips(entry)) == [7, 40]
    folder = command.get_any("city", entry, tmp_path / "city")
    with rasterio.open(folder / "ms.tif") as file:
        assert file.count == 8
    facts = json.loads((folder / "scene.json").read_text())
    assert (facts["name"], facts["sensor"], facts["bits"], facts["licence"]) == (
        "city-7",
        "WV3",
        11,
        "CC BY",
    )
    assert sorted(p.name for p in folder.iterdir()) == ["ms.tif", "pan.tif", "scene.json"]
    with pytest.raises(ValueError, match="holds another choice"):
        command.get_any("city", entry, tmp_path / "city", options={"chip": 40})
    other = command.get_any("city", entry, tmp_path / "other", options={"chip": 40})
    assert json.loads((other / "scene.json").read_text())["name"] == "city-40"
    command.get_any("city", entry, tmp_path / "other", options={"chip": 40})
    with pytest.raises(ValueError, match="has no chip 8: of 2, the nearest are 7, 40"):
        command.get_any("city", entry, tmp_path / "third", options={"chip": 8})
    capsys.readouterr()
    command.get_any("city", entry, tmp_path / "city", offline=True)
    assert "there already" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="by hand"):
        command.get_any("city", entry, tmp_path / "none", offline=True)
    with pytest.raises(ValueError, match="takes no --row: --chip"):
        command.get_any("city", entry, tmp_path / "none", options={"row": 8})
    with pytest.raises(OSError, match="lists no chips"):
        remote.chips(registry.Chips("WV3", "", "", "", running.url, "b", "c"))


def test_a_chip_that_broke_off_is_incomplete_and_goes_on(running, tmp_path, capsys, monkeypatch):
    image(running.folder / "p1.tif", 1, 256, 0.5, 1, tiled=False)
    image(running.folder / "m1.tif", 8, 64, 2.0, 1, tiled=False)
    entry = registry.Chips("WV3", "a chip", "CC BY", "x 2020", running.url, "p", "m")
    running.breaks = 9
    monkeypatch.setattr(command, "ENTRIES", {"city": entry})
    with pytest.raises(OSError, match="goes on"):
        command.get_any("city", entry, tmp_path / "city")
    assert command.check(tmp_path) == 1 and "city: DAMAGED or incomplete" in capsys.readouterr().out
    running.breaks = 0
    command.get_any("city", entry, tmp_path / "city")
    assert command.check(tmp_path) == 0 and "city: whole" in capsys.readouterr().out


def test_a_window_is_read_by_ranges_and_by_geotransforms(running, tmp_path, monkeypatch):
    pan = image(running.folder / "a-pan.tif", 1, 1024, 0.5, 1)
    ms = image(running.folder / "a-ms.tif", 8, 256, 2.0, 2)
    entry = registry.Window(
        "WV3",
        "window",
        "CC BY-NC",
        "x",
        f"{running.url}/a-pan.tif",
        (f"{running.url}/a-ms.tif",),
        14,
        128,
        256,
        256,
    )
    folder = command.get_any("event", entry, tmp_path / "event")
    with rasterio.open(folder / "pan.tif") as p, rasterio.open(folder / "ms.tif") as m:
        assert (p.read() == pan[:, 128:384, 256:512]).all() and (
            m.read() == ms[:, 32:96, 64:128]
        ).all()
        assert p.transform * (0, 0) == m.transform * (0, 0) == (500_000 + 128, 4_000_000 - 64)
    bytes_asked = [asked[2] for asked in running.asked if asked[0] == "GET"]
    assert bytes_asked and all(asked and asked.startswith("bytes=") for asked in bytes_asked)
    assert json.loads((folder / "scene.json").read_text())["bits"] == 14
    for options, message in (
        ({"row": 2000}, "leaves the image of 1024 x 1024"),
        ({"size": 130}, "multiple of the ratio 4 and at least 256"),
        ({"chip": 3}, "takes no --chip: --row, --col, --size"),
    ):
        with pytest.raises(ValueError, match=message):
            command.get_any("event", entry, tmp_path / "wrong", options=options)
    gone = registry.Window(
        "WV3", "", "x", "x", entry.pan, (f"{running.url}/b-ms.tif",), 14, 0, 0, 256
    )
    with pytest.raises(OSError, match="this acquisition lacks it"):
        command.get_any("gone", gone, tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_bands_in_files_of_their_own_on_a_grid_half_a_pixel_off(running, tmp_path):
    """As Landsat's: PAN's corner lies 7.5 m inside MS's."""
    pan = image(running.folder / "L_B8.tif", 1, 512, 15.0, 1, offset=7.5)
    bands = [image(running.folder / f"L_B{i}.tif", 1, 256, 30.0, i)[0] for i in (2, 3, 4)]
    urls = tuple(f"{running.url}/L_B{i}.tif" for i in (2, 3, 4))
    entry = registry.Window(
        "LANDSAT8", "window", "PD", "x", f"{running.url}/L_B8.tif", urls, 16, 100, 60, 256
    )
    folder = command.get_any("landsat", entry, tmp_path / "landsat")
    with rasterio.open(folder / "pan.tif") as p, rasterio.open(folder / "ms.tif") as m:
        assert m.count == 3 and m.shape == (128, 128) and p.shape == (256, 256)
        apart = [
            abs(a - b) for a, b in zip(p.transform * (0, 0), m.transform * (0, 0), strict=True)
        ]
        assert max(apart) == 7.5
        top, left = (
            round(v)
            for v in reversed(
                ~rasterio.Affine(30, 0, 500_000, 0, -30, 4_000_000) * (m.transform * (0, 0))
            )
        )
        assert (m.read() == np.stack([b[top : top + 128, left : left + 128] for b in bands])).all()
        assert (p.read()[0] == pan[0][2 * top : 2 * top + 256, 2 * left : 2 * left + 256]).all()


def test_windows_of_nodata_or_of_other_grids_are_refused(running, tmp_path):
    image(running.folder / "p.tif", 1, 1024, 0.5)
    image(running.folder / "other.tif", 8, 256, 2.3)
    entry = registry.Window(
        "WV3", "", "x", "x", f"{running.url}/p.tif", (f"{running.url}/other.tif",), 14, 0, 0, 256
    )
    with pytest.raises(ValueError, match="grids that do not fit"):
        command.get_any("other", entry, tmp_path / "other")
    with rasterio.open(running.folder / "p.tif", "r+") as file:
        file.write(np.zeros((1, 1024, 1024), np.uint16))
    image(running.folder / "ms.tif", 8, 256, 2.0)
    urls = f"{running.url}/p.tif", (f"{running.url}/ms.tif",)
    entry = registry.Window("WV3", "", "x", "x", *urls, 14, 0, 0, 256)
    with pytest.raises(ValueError, match="holds nodata only: choose another"):
        command.get_any("empty", entry, tmp_path / "empty")
    image(running.folder / "p.tif", 1, 1024, 0.5)
    with pytest.raises(ValueError, match="MS of empty has 8 bands, expected 4"):
        command.get_any("empty", replace(entry, sensor="IKONOS"), tmp_path / "empty")
    image(running.folder / "high.tif", 8, 256, 2.0, nodata=65535)
    with rasterio.open(running.folder / "high.tif", "r+") as file:
        file.write(np.full((8, 256, 256), 65535, np.uint16))
    with pytest.raises(ValueError, match="holds nodata only: choose another"):
        command.get_any(
            "empty", replace(entry, ms=(f"{running.url}/high.tif",)), tmp_path / "empty"
        )
    assert list(tmp_path.glob("o*")) == [] and list(tmp_path.glob("e*")) == []


@pytest.mark.parametrize("place", range(4))
def test_a_call_killed_while_files_get_their_names_is_mended_by_the_same_call(
    running, tmp_path, monkeypatch, place
):
    """By Ctrl-C, which removes what it can, and by a kill, which removes nothing."""
    image(running.folder / "a-pan.tif", 1, 1024, 0.5, 1)
    image(running.folder / "a-ms.tif", 8, 256, 2.0, 2)
    urls = f"{running.url}/a-pan.tif", (f"{running.url}/a-ms.tif",)
    entry = registry.Window("WV3", "window", "CC BY-NC", "x", *urls, 14, 0, 0, 256)
    out, replace_file, seen = tmp_path / "out", os.replace, []

    def killed(*names):
        seen.append(names)
        if len(seen) > place:
            raise KeyboardInterrupt
        replace_file(*names)

    for is_kill in (False, True):
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", killed)
            if is_kill:
                patched.setattr(remote, "scratch", without_end)
            if place < 3:
                with pytest.raises(KeyboardInterrupt):
                    command.get_any("city", entry, out)
            else:
                command.get_any("city", entry, out)
        command.get_any("city", entry, out)
        assert sorted(os.listdir(out)) == ["ms.tif", "pan.tif", "scene.json"]
        assert remote.is_whole(out)
        shutil.rmtree(out)
        seen.clear()


@contextlib.contextmanager
def without_end(out):
    """The folder as a killed process leaves it: nothing is removed."""
    (out / remote.SCRATCH).mkdir(parents=True, exist_ok=True)
    yield out / remote.SCRATCH


def test_two_calls_do_not_write_into_one_folder(running, tmp_path):
    out = tmp_path / "out"
    wanted = entry(f"{running.url}/image.bin", checksum=hashlib.sha256(CONTENT).hexdigest())
    (out / ".part").mkdir(parents=True)
    with (
        FileLock(out / ".part" / ".lock"),
        pytest.raises(ValueError, match="another call gets something into"),
    ):
        command.get_entry("set", wanted, out)
    command.get_entry("set", wanted, out)
    assert os.listdir(out) == ["image.bin"]
    with pytest.raises(ValueError, match="remove it and get it again"):
        command.get_entry("set", replace(wanted, checksum="0" * 64), out)


def test_archives_that_become_far_larger_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "FREE_SIZE", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1_000_000))
    tar_with(tmp_path / "a.tar.gz", ("zeros", bytes(1_000_000), tarfile.REGTYPE))
    image(tmp_path / "a.tif", 1, 512, 0.5)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=9000, height=9000, count=1,
                       dtype="uint8", sparse_ok=True):  # fmt: skip
        pass
    for name in ("a.zip", "a.tar.gz", "a.tif"):
        with pytest.raises(ValueError, match="becomes more than 50 times as large"):
            fetch.verify(tmp_path / name)
        if name != "a.tif":
            with pytest.raises(ValueError, match="becomes more than 50 times as large"):
                fetch.unpack(tmp_path / name, tmp_path / "files")
    assert not (tmp_path / "files").exists()


def test_a_listing_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(remote, "MOST_PAGES", 3)
    page = b"<a><NextContinuationToken>1</NextContinuationToken></a>"
    monkeypatch.setattr(fetch, "read", lambda *_: page)
    with pytest.raises(OSError, match="lists more than 3 pages"):
        list(remote.keys("https://x.example", "a"))


def test_choices_lie_beside_each_other_and_check_knows_them(running, tmp_path, capsys, monkeypatch):
    image(running.folder / "a-pan.tif", 1, 1024, 0.5, 1)
    image(running.folder / "a-ms.tif", 8, 256, 2.0, 2)
    urls = f"{running.url}/a-pan.tif", (f"{running.url}/a-ms.tif",)
    window = registry.Window("WV3", "window", "CC BY-NC", "x", *urls, 14, 0, 0, 256)
    file = registry.Entry("WV3", "h5", "CC0", "x", f"{running.url}/image.bin")
    monkeypatch.setattr(command, "ENTRIES", {"city": file, "city-window": window})
    monkeypatch.setenv("CLIPPAN_HOME", str(tmp_path))
    for options in ([], ["--row", "256"], ["--col", "256"]):
        assert command.main(["get", "city-window", *options]) == 0
    found = sorted(p.name for p in (tmp_path / "data").iterdir())
    assert found == ["city-window", "city-window-col256", "city-window-row256"]
    capsys.readouterr()
    assert command.main(["check"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}: whole" for name in found]


def test_synthetic_scenes_need_no_network(tmp_path):
    entry = registry.Synthetic("IKONOS", "small", "MIT", "x", size=128, seed=1)
    (tmp_path / "small" / ".part").mkdir(parents=True)
    (tmp_path / "small" / ".part" / ".pan-0a1b2c3d.part.tif").touch()  # of a killed call
    folder = command.get_any("small", entry, tmp_path / "small", offline=True)
    assert sorted(p.name for p in folder.iterdir()) == [
        "ms.tif",
        "pan.tif",
        "scene.json",
        "truth.tif",
    ]


def test_the_catalogue_is_searched_by_words(capsys):
    assert set(registry.find("wv3", "one CHIP", "by-sa")) == {
        "spacenet3-paris-chip", "spacenet3-vegas-chip", "spacenet5-moscow-chip",
    }  # fmt: skip
    assert set(registry.find()) == set(registry.ENTRIES)
    assert (
        command.main(["list", "landsat"]) == 0
        and "bands B G R, ratio 2, 16 bit" in capsys.readouterr().out
    )
    assert (
        command.main(["list", "sentinel"]) == 2
        and "nothing mentions sentinel" in capsys.readouterr().err
    )


def test_images_of_somebody_else_are_not_taken_for_ours(running, tmp_path):
    entry = registry.Chips(
        "WV3", "a chip", "CC BY", "x 2020", running.url, "train/PAN/a_PAN_img", "train/MS/a_MS_img"
    )
    (tmp_path / "pan.tif").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"holds a pan\.tif without scene\.json"):
        command.get_any("chip", entry, tmp_path)
    assert (tmp_path / "pan.tif").read_bytes() == b"mine"


def test_every_sensor_of_the_registry_is_known():
    from clippan_lite.physics import sensors

    assert all(sensors.get(entry.sensor) for entry in registry.ENTRIES.values())


@pytest.mark.slow
def test_a_damaged_scene_is_told_and_got_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLIPPAN_HOME", str(tmp_path))
    assert command.main(["get", "synthetic-ikonos"]) == 0
    folder = tmp_path / "data" / "synthetic-ikonos"
    whole = (folder / "ms.tif").read_bytes()
    for damage in (lambda file: file.write_bytes(whole[:1000]), lambda file: file.unlink()):
        damage(folder / "ms.tif")
        assert command.main(["check"]) == 1 and "DAMAGED or incomplete" in capsys.readouterr().out
        assert (
            command.main(["get", "synthetic-ikonos"]) == 0
            and "getting it again" in capsys.readouterr().out
        )
        assert (folder / "ms.tif").read_bytes() == whole and command.main(["check"]) == 0
    (folder / "scene.json").write_text("{brok")
    assert command.main(["check"]) == 1 and "DAMAGED or incomplete" in capsys.readouterr().out
    assert command.main(["get", "synthetic-ikonos"]) == 0 and command.main(["check"]) == 0
    remote_one = folder.rename(folder.with_name("maxar-kenya-2023"))
    (remote_one / "pan.tif").write_bytes(b"cut")
    assert command.main(["get", "maxar-kenya-2023", "--offline"]) == 2
    assert "is damaged: get it without --offline, or put pan.tif, ms.tif" in capsys.readouterr().err
    assert (remote_one / "ms.tif").read_bytes() == whole and (remote_one / "scene.json").is_file()
    assert command.main(["get", "spacenet3-paris-chip", "--chip", "-3"]) == 2
    assert "--chip must be 0 or more, found -3" in capsys.readouterr().err
