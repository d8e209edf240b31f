"""Fetches the code tarball, checks its digest, unpacks it and executes launch. The service passes this file's text to each node."""

import hashlib
import os
import sys
import tarfile
import tempfile
import urllib.parse

try:
    url = os.environ["GPUYARD_CODE_URL"]
    parts = urllib.parse.urlsplit(url)
    root = os.path.abspath(os.environ.get("GPUYARD_WORKDIR") or os.getcwd())
    os.makedirs(root, exist_ok=True)
    if not os.access(root, os.W_OK):  # the image's folder belongs to root, and this user is not root
        root = tempfile.mkdtemp(prefix="gpuyard-")
    # Never unpack over existing files: an image may have a folder named code.
    taken = any(os.path.lexists(os.path.join(root, name)) for name in ("code", ".gpuyard"))
    work = tempfile.mkdtemp(prefix="gpuyard-", dir=root) if taken else root
    archive = os.path.join(work, ".code.tar.gz")
    if parts.scheme == "file":
        archive = urllib.parse.unquote(parts.path)
    else:
        import fsspec

        fs, path = fsspec.core.url_to_fs(url)
        fs.get_file(path, archive)
    digest = hashlib.sha256()
    with open(archive, "rb") as packed:
        for block in iter(lambda: packed.read(1 << 20), b""):
            digest.update(block)
    wanted = os.path.basename(parts.path).split(".")[0]
    if digest.hexdigest() != wanted:
        raise ValueError(f"the tarball's sha256 is {digest.hexdigest()}, its name says {wanted}; submit the job again")
    with tarfile.open(archive) as tar:
        tar.extractall(work, filter="data")  # refuses paths outside the folder
except ModuleNotFoundError as error:
    sys.exit(f"gpuyard: this image cannot fetch {url}: {error}; fix: pip install fsspec and its file system for {parts.scheme}://")
except Exception as error:  # each cloud's client has its own classes for credentials and network errors
    sys.exit(f"gpuyard: cannot unpack the job's code: {type(error).__name__}: {error}")
os.makedirs(os.path.join(work, "code"), exist_ok=True)
own = os.path.join(work, ".gpuyard")
os.environ["GPUYARD_WORKDIR"] = work
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH")]))
os.chdir(os.path.join(work, "code"))
# -P: a user's file named json.py must not replace launch's json.
os.execv(sys.executable, [sys.executable, "-P", "-m", "gpuyard.training_jobs.launch"])  # noqa: S606
