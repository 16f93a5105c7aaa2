"""The files in deploy/ that are not run here: their tools find no fault, and they agree."""

import json
import os
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.choices import ROOT
from tests.live.deployment import PYTHON, program, refusal, substitute

pytestmark = pytest.mark.live


def clean(*command: str | Path) -> str:
    """Run a tool that must find no problem, and return what it prints."""
    path = f"{Path(PYTHON).parent}:{os.environ['PATH']}"
    command = (shutil.which(command[0], path=path) or command[0], *command[1:])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_hadolint_finds_nothing(packaged: Path) -> None:
    clean("hadolint", packaged / "deploy/Dockerfile")


def test_dockerfile_installs_only_locked_packages(packaged: Path) -> None:
    """Nothing is copied with a wildcard, so a build without its lock fails."""
    text = (packaged / "deploy/Dockerfile").read_text()
    build, _, last = text.partition("\nFROM ")[2].partition("\nFROM ")
    lock = (
        (ROOT / "templates/packaging" / packaged.parent.name / "dockerignore").read_text().strip()
    )
    assert f"COPY pyproject.toml {lock} ./" in build
    assert f"!{lock}\n" in (packaged / ".dockerignore").read_text()
    for word in ("install", "sync"):
        assert f" {word} " not in last.replace("install --directory", "")


def merged_compose(project: Path) -> dict[str, Any]:
    """Return compose.yaml with the files that are used in addition to it.

    They only add to it, so that nobody has to know Compose's rules for merging.
    """
    merged: dict[str, Any] = {}
    for name in ("compose.yaml", "observability/compose.yaml"):
        for part, content in yaml.safe_load((project / "deploy" / name).read_text()).items():
            if part == "name":
                continue
            assert not content.keys() & merged.setdefault(part, {}).keys(), name
            merged[part] |= content
    return merged


def test_compose_files_are_valid_and_hold_no_secret(packaged: Path) -> None:
    compose = packaged / "deploy/compose.yaml"
    override = packaged / "deploy/observability/compose.yaml"
    clean("check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose, override)
    # Without the values of the environment, every password is empty.
    text = re.sub(r"\$\{\w+:\?\}", "", compose.read_text() + override.read_text())
    assert text.count("postgresql://service:@") == text.count("postgresql://") == 2
    assert text.count("PASSWORD '") == text.count("PASSWORD ''") == 2
    assert '"service" ""' in text
    for name, service in merged_compose(packaged)["services"].items():
        for variable, value in service.get("environment", {}).items():
            if "PASS" in variable:
                assert value.startswith("/run/secrets/"), f"{name}: {variable}"


def test_everything_that_compose_refers_to_exists(packaged: Path) -> None:
    compose = merged_compose(packaged)
    services, configs = compose["services"], compose["configs"]
    ignored = (packaged / ".gitignore").read_text().splitlines()
    for service in services.values():
        for file in service.get("env_file", []):
            assert not file["required"] and f"*{Path(file['path']).suffix}" in ignored
        volumes = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        assert volumes <= compose["volumes"].keys()
        # The service has its health check from the Dockerfile.
        for needed, state in service.get("depends_on", {}).items():
            checked = needed == "service" or "healthcheck" in services[needed]
            assert checked or state["condition"] == "service_completed_successfully"
        # Compose writes these files into the container after its start.
        written = set(service.get("secrets", []))
        assert written <= compose["secrets"].keys()
        written |= {
            config["source"]
            for config in service.get("configs", [])
            if "content" in configs[config["source"]]
        }
        assert not (written and service.get("read_only")), written
        for file in re.findall("/run/secrets/([a-z_]+)", str(service)):
            assert file in service["secrets"]
    built = [service["image"] for service in services.values() if "build" in service]
    assert len(set(built)) == len(built), "one image is built twice at the same time"
    for config in configs.values():
        assert "content" in config or (packaged / "deploy" / config["file"]).is_file()


def test_compose_limits_fit_the_other_configurations(packaged: Path) -> None:
    services = yaml.safe_load((packaged / "deploy/compose.yaml").read_text())["services"]
    pgbouncer = ConfigParser()
    pgbouncer.read(packaged / "deploy/pgbouncer.ini")
    limits = ("max_client_conn", "max_db_connections")
    connections = sum(pgbouncer.getint("pgbouncer", limit) for limit in limits)
    assert services["pgbouncer"]["ulimits"]["nofile"] > connections
    graceful = int(services["service"]["environment"]["GRACEFUL_TIMEOUT"])
    for name in ("service", "nginx"):
        assert services[name]["stop_grace_period"] == f"{2 * graceful + 5}s"


def test_systemd_units_are_valid(packaged: Path, workplace: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    folder = workplace / f"{packaged.parent.name}-units"
    folder.mkdir()
    for name in ("python", "alembic"):  # the programs that the units start
        (folder / name).symlink_to("/bin/true")
    units = []
    for unit in (packaged / "deploy/systemd").iterdir():
        changed = substitute(unit.read_text(), {"/opt/notes-service/.venv/bin": str(folder)})
        units.append(folder / unit.name)
        units[-1].write_text(changed)
    # `verify` prints an unknown key, but exits with 0.
    assert clean(analyze, "verify", "--man=no", *units) == ""
    assert len(units) == 2
    clean(analyze, "security", "--offline=true", "--threshold=20", *units)


def test_every_start_command_names_a_wrong_number_of_workers(packaged: Path) -> None:
    """gunicorn itself would show a traceback."""
    compose = yaml.safe_load((packaged / "deploy/compose.yaml").read_text())
    dockerfile = (packaged / "deploy/Dockerfile").read_text()
    unit = (packaged / "deploy/systemd/notes-service.service").read_text()
    makefile = (packaged / "Makefile").read_text()
    commands = [
        compose["services"]["service"]["command"],
        *map(json.loads, re.findall(r"^CMD (.*)", dockerfile, re.MULTILINE)),
        *map(str.split, re.findall(r"^Exec\w+=(/opt/.*)", unit, re.MULTILINE)),
        *map(str.split, re.findall(r"^serve: .*\n\t(.*)", makefile, re.MULTILINE)),
    ]
    assert len(commands) == 5
    settings = {"DATABASE_URL": "postgresql://a@127.0.0.1/a", "UPSTREAM_URL": "http://127.0.0.1:9"}
    for command in commands:
        assert Path(command[0]).name == "python"
        done = subprocess.run(
            [PYTHON, *command[1:]],
            cwd=packaged,
            env=settings | {"PYTHONPATH": "src", "WEB_CONCURRENCY": "abc"},
            capture_output=True,
            text=True,
        )
        assert refusal(done).startswith("Not started: WEB_CONCURRENCY: "), command


def test_only_nginx_may_open_the_socket(packaged: Path) -> None:
    unit = (packaged / "deploy/systemd/notes-service.service").read_text()
    user = re.search(r"^user (\S+);", (packaged / "deploy/nginx.conf").read_text(), re.MULTILINE)
    assert user and f"\nGroup={user[1]}\n" in unit
    assert "\nRuntimeDirectoryMode=0750\n" in unit


def test_shellcheck_finds_nothing() -> None:
    clean("shellcheck", ROOT / ".ci/run")
