"""Provide a Pulumi engine that runs Python programs: find one on PATH or in the cache, download it, or build it.

`python tools/engine/bootstrap.py --print-path` prints the folder to put first on PATH. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # started by its path, so the checkout is not on sys.path
from tools.engine import cache, obtain, versions
from tools.engine.search import PIECES, Engine, NotUsableError, cache_root, on_path
from tools.progress import Progress

__all__ = ["ROOT", "NoEngineError", "Way", "ensure", "main", "place_beside_checkout"]

ROOT = Path(__file__).resolve().parents[2]
Way = Callable[[Path, Callable[[str], None]], str]


class NoEngineError(Exception):
    """No engine could be found, downloaded or built. The message has the reason for each of these and the fix."""


def ensure(root: Path = ROOT, env: Mapping[str, str] = os.environ, say: Callable[[str], None] = lambda _text: None) -> Engine:
    """Return the engine to use. Download or build it if needed. Raises NoEngineError."""
    user_cache = cache_root(env)
    reasons: dict[str, str] = {}
    try:
        return on_path(env)
    except NotUsableError as error:
        reasons["a pulumi on PATH"] = str(error)
    try:
        return place_beside_checkout(root, user_cache)
    except NotUsableError as error:
        reasons["your cache"] = str(error)
    ways: dict[str, Way] = {
        "the official download": obtain.download,
        "a build of its Go modules": lambda place, tell: obtain.build(place, tell, env, user_cache),
    }
    for way, make in ways.items():
        try:
            cache.fill(user_cache, lambda place, make=make: make(place, say), say)  # type: ignore[misc]
            return place_beside_checkout(root, user_cache)
        except (NotUsableError, OSError) as error:
            reasons[way] = str(error)
    raise NoEngineError(_four_ways(reasons))


def place_beside_checkout(root: Path, user_cache: Path) -> Engine:
    """Link the cached engine into .yard/engine, beside launchers that start this checkout's own Python.

    It is a hard link, because the engine looks for its plug-ins beside the real file. Checkouts share the cache but not their .venv.
    """
    origin = cache.look(user_cache)
    cached = cache.folder(user_cache)
    if all((cached / name).exists() for name in PIECES):
        return Engine(cached, f"v{versions.ENGINE}", f"in your cache, {origin}")
    folder = root / ".yard" / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PIECES:
        _replace(folder / name, lambda new, name=name: new.symlink_to(Path("../../tools/engine", name)))  # type: ignore[misc]
    if not (folder / "pulumi").exists() or not _same(cached / "pulumi", folder / "pulumi"):
        _replace(folder / "pulumi", lambda new: _link_or_copy(cached / "pulumi", new))
    return Engine(folder, f"v{versions.ENGINE}", f"in your cache, {origin}")


def _same(one: Path, other: Path) -> bool:
    ours, theirs = one.stat(), other.stat()
    return os.path.samestat(ours, theirs) or (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _link_or_copy(source: Path, new: Path) -> None:
    try:
        new.hardlink_to(source)
    except OSError:  # the cache is on another file system
        shutil.copy2(source, new)


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    new = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    new.unlink(missing_ok=True)
    make(new)
    new.replace(path)
    new.unlink(missing_ok=True)  # renaming a hard link onto itself leaves both names


def _four_ways(reasons: Mapping[str, str]) -> str:
    listed = "\n".join(f"  {number}. {way}: {reason}" for number, (way, reason) in enumerate(reasons.items(), 1))
    return (
        f"no Pulumi engine v{versions.ENGINE} or newer that runs Python programs:\n{listed}\n"
        f"fix: one of these is enough; install the official Pulumi CLI, or Go {versions.GO} or newer, then run this again"
    )


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print-path", action="store_true", help="print the folder to put first on PATH")
    arguments = parser.parse_args()
    progress = Progress(sys.stderr, "pulumi: ")
    try:
        engine = ensure(say=progress.say)
    except NoEngineError as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.end()
        print("interrupted; run it again: finished steps are kept", file=sys.stderr)
        return 130
    progress.end()
    print(engine.folder if arguments.print_path else f"pulumi {engine.version} {engine.origin}: {engine.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
