"""Getting an engine: a download must match the checksums of its release; a failed build names its reason."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.unit.tools.engines import script
from tools.engine import obtain
from tools.engine.search import NotUsableError


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def _quiet(_text: str) -> None:
    pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder as the vendor's download site, and return the folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(obtain, "RELEASE", base + "/pulumi-{system}.tar.gz")
        monkeypatch.setattr(obtain, "CHECKSUMS", base + "/checksums.txt")
        monkeypatch.setattr(obtain, "_system", lambda: "linux-x64")
        yield folder
        server.shutdown()
        thread.join()


def _release(site: Path, members: dict[str, bytes], digest: str | None = None) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o4777
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("pulumi/pulumi-language-python")
        link.type, link.linkname = tarfile.SYMTYPE, "/bin/sh"
        archive.addfile(link)
    (site / "pulumi-linux-x64.tar.gz").write_bytes(packed.getvalue())
    listed = digest or hashlib.sha256(packed.getvalue()).hexdigest()
    (site / "checksums.txt").write_text(f"{'0' * 64}  other.tar.gz\n{listed}  pulumi-linux-x64.tar.gz\n", encoding="utf-8")


def test_a_verified_release_is_unpacked_by_name_and_content_only(site: Path, tmp_path: Path) -> None:
    _release(site, {"pulumi/pulumi": b"engine", "../../evil": b"x", "pulumi/notes.txt": b"x"})
    place = tmp_path / "place"
    place.mkdir()
    assert obtain.download(place, _quiet).startswith("downloaded from http://127.0.0.1")
    assert [entry.name for entry in place.iterdir()] == ["pulumi"]
    assert (place / "pulumi").read_bytes() == b"engine"
    assert (place / "pulumi").stat().st_mode & 0o7777 == 0o755
    assert not list(tmp_path.rglob("evil"))


def test_a_release_with_a_wrong_checksum_is_not_used(site: Path, tmp_path: Path) -> None:
    _release(site, {"pulumi/pulumi": b"engine"}, digest="f" * 64)
    with pytest.raises(NotUsableError, match=r"its release lists ffff.*; not used"):
        obtain.download(tmp_path, _quiet)
    assert not (tmp_path / "pulumi").exists()


def test_a_missing_or_unlisted_release_is_a_reason(site: Path, tmp_path: Path) -> None:
    (site / "checksums.txt").write_text("", encoding="utf-8")
    with pytest.raises(NotUsableError, match=r"does not list pulumi-linux-x64.tar.gz, so the download cannot be verified"):
        obtain.download(tmp_path, _quiet)
    (site / "checksums.txt").unlink()
    with pytest.raises(NotUsableError, match="cannot be downloaded"):
        obtain.download(tmp_path, _quiet)


_GO = """
case "$1" in
version) echo go version go1.26.8 linux/amd64 ;;
list) printf 'a\\nb\\nc\\n' ;;
build) for last; do [ "$previous" = -o ] && echo engine > "$last"; previous=$last; done
    echo "$GOMODCACHE $GOFLAGS $CGO_ENABLED" > "$SEEN" ;;
esac
"""


def test_a_build_writes_to_the_users_cache_only_and_cleans_up(tmp_path: Path) -> None:
    script(tmp_path / "bin" / "go", _GO)
    env = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "SEEN": str(tmp_path / "seen")}
    (tmp_path / "cache" / "go" / "mod").mkdir(parents=True)
    messages: list[str] = []
    assert obtain.build(tmp_path, messages.append, env, tmp_path / "cache") == "built from its Go modules"
    assert (tmp_path / "pulumi").read_text(encoding="utf-8") == "engine\n"
    assert (tmp_path / "seen").read_text(encoding="utf-8") == f"{tmp_path}/cache/go/mod -mod=readonly -modcacherw 0\n"
    assert not (tmp_path / "cache" / "go").exists()
    assert "step 1 of 2" in messages[0]
    assert messages[-1].endswith("0 of 3 packages")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, r"no go on PATH \(allowed: 1\.25\.11 or newer\)"),
        ("echo go version go1.21.0 linux/amd64", r"is go version go1\.21\.0 linux/amd64, allowed: 1\.25\.11 or newer"),
        (
            '[ "$1" = version ] && echo go1.26.0 && exit; echo no such module; exit 1',
            r"(?s)failed with exit code 1.*build\.log.*no such module",
        ),
    ],
)
def test_a_failed_build_names_its_reason(tmp_path: Path, body: str | None, reason: str) -> None:
    if body is not None:
        script(tmp_path / "bin" / "go", body)
    with pytest.raises(NotUsableError, match=reason):
        obtain.build(tmp_path, _quiet, {"PATH": str(tmp_path / "bin")}, tmp_path / "cache")
