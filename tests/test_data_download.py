import ast
import functools
import hashlib
import http.server
import io
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

import data_download
from data_download import __main__ as command
from data_download import fetch, registry

CONTENT = b"image bytes " * 1000


class Handler(http.server.SimpleHTTPRequestHandler):
    """A local server with a few misbehaving addresses."""

    def do_GET(self):
        if self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b"only this")
        elif self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/file")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "image.h5").write_bytes(CONTENT)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("a/one.tif", b"1")
        archive.writestr("two.tif", b"2")
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def entry(url, **more):
    return registry.Entry(url, "WV3", "two images", "CC0", "nobody 2024", **more)


def test_download_checks_and_keeps(server, tmp_path):
    md5 = hashlib.md5(CONTENT).hexdigest()
    target = fetch.download(f"{server}/image.h5", tmp_path / "out" / "image.h5", md5)
    assert target.read_bytes() == CONTENT and fetch.md5_of(target) == md5
    assert [p.name for p in target.parent.iterdir()] == ["image.h5"]


@pytest.mark.parametrize(
    ("path", "md5", "error", "match"),
    [
        ("image.h5", "0" * 32, ValueError, "expected 0000"),
        ("nothing.h5", None, OSError, "404"),
        ("short", None, OSError, "short|IncompleteRead|of 5000"),
        ("elsewhere", None, ValueError, "not an https address"),
    ],
)
def test_failed_downloads_leave_nothing(server, tmp_path, path, md5, error, match):
    with pytest.raises(error, match=match):
        fetch.download(f"{server}/{path}", tmp_path / "out" / "x.h5", md5)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "x"])
def test_only_https(url, tmp_path):
    with pytest.raises(ValueError, match="not an https address"):
        fetch.download(url, tmp_path / "out" / "x")
    assert not (tmp_path / "out").exists()


def test_unreachable_server(tmp_path):
    with pytest.raises(OSError, match="check the network"):
        fetch.download("http://127.0.0.1:9/x", tmp_path / "x", timeout=2)


def test_get_prints_the_licence_downloads_and_unpacks(server, tmp_path, capsys):
    out = tmp_path / "out"
    folder = command.get_entry("set", entry(f"{server}/images.zip?download=true", unpack=True), out)
    assert folder == out / "files" and (folder / "a" / "one.tif").read_bytes() == b"1"
    text = capsys.readouterr().out
    assert text.index("licence: CC0") < text.index("downloaded:")
    command.get_entry("set", entry("https://example.invalid/images.zip", unpack=True), out, offline=True)
    assert "there already" in capsys.readouterr().out


def test_offline_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="get set without --offline"):
        command.get_entry("set", entry("https://example.invalid/x.h5"), tmp_path, offline=True)
    (tmp_path / "x.h5").write_bytes(b"other")
    with pytest.raises(ValueError, match="remove it and get it again"):
        command.get_entry("set", entry("https://example.invalid/x.h5", md5="0" * 32), tmp_path)


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
        fetch.check_url(one.url)
        assert one.licence and one.citation and one.content and one.filename, name
        assert one.md5 is None or len(one.md5) == 32


def test_command_line(capsys, tmp_path, monkeypatch):
    assert command.main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in registry.ENTRIES) and "licence" in out
    assert command.main(["get", "nonsense"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "known are" in error
    monkeypatch.setenv("CLIPPAN_HOME", str(tmp_path))
    assert command.main(["get", "nbu-ikonos", "--offline"]) == 2
    assert str(tmp_path / "data" / "nbu-ikonos") in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_needs_only_the_standard_library_and_tqdm():
    for path in Path(data_download.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top in sys.stdlib_module_names or top in ("tqdm", "data_download"), (path.name, name)
