"""The OpenAPI schemas: equal in all programs, and good enough for generators of clients."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.choices import CHOICES, PROGRAMS, Combination, name, python_path
from tests.support.service import Service

BIN = Path(sys.executable).parent
WORDING = {"description", "summary", "title"}
SchemaOf = Callable[[str], Path]

# Creates, reads, changes and deletes a note with the client that openapi-python-client generated.
ROUND_TRIP = """
import sys

from client import Client
from client.api.notes import (
    notes_change_note, notes_create_note, notes_delete_note, notes_get_note, notes_list_notes
)
from client.models import NewNote, Note, NoteChange, Problem

with Client(base_url=sys.argv[1]) as client:
    created = notes_create_note.sync_detailed(client=client, body=NewNote(title="first"))
    note, tag = created.parsed, created.headers["ETag"]
    assert isinstance(note, Note), created
    assert (note.title, note.body, note.version, tag) == ("first", "", 1, '"1"'), created
    assert notes_get_note.sync(note.id, client=client) == note
    known = notes_get_note.sync_detailed(note.id, client=client, if_none_match=tag)
    assert known.status_code == 304, known

    def change(title):
        return notes_change_note.sync_detailed(
            note.id, client=client, body=NoteChange(title=title), if_match=tag
        )

    changed = change("second")
    assert isinstance(changed.parsed, Note), changed
    assert (changed.parsed.title, changed.parsed.version) == ("second", 2), changed
    refused = change("third")
    assert isinstance(refused.parsed, Problem), refused
    assert refused.parsed.status == 412, refused
    assert notes_list_notes.sync(client=client, limit=1).items == [changed.parsed]
    invalid = notes_list_notes.sync(client=client, limit=101)
    assert invalid.errors[0].pointer == "/limit", invalid

    tag = changed.headers["ETag"]
    deleted = notes_delete_note.sync_detailed(note.id, client=client, if_match=tag)
    assert deleted.status_code == 204, deleted
    assert notes_get_note.sync(note.id, client=client).status == 404
"""


def run(folder: Path, *command: str | Path, **environment: str) -> str:
    """Run a command and return what it prints, which is the message of an error, too."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def write_schema(program: Combination, file: Path) -> None:
    path = python_path(program)
    script = [sys.executable, "-W", "error", "-m", "scripts.openapi", file]
    run(file.parent, *script, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1")


@pytest.fixture(scope="module")
def schema_of(tmp_path_factory: pytest.TempPathFactory) -> SchemaOf:
    """Return the file with the schema of one program of a framework."""

    @cache
    def schema(framework: str) -> Path:
        file = tmp_path_factory.mktemp("schema") / f"{framework}.json"
        write_schema({**PROGRAMS[0], "framework": framework}, file)
        return file

    return schema


def without_wording(schema: Any, *, names: bool = False) -> Any:
    """Return the schema without its wording. names: whether the keys are names of our own."""
    if isinstance(schema, list):
        return [without_wording(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_wording(value, names=key in ("properties", "schemas", "paths"))
        for key, value in schema.items()
        if names or key not in WORDING
    }


def operation_ids(schema: Path) -> list[str]:
    paths = json.loads(schema.read_text())["paths"]
    return [operation["operationId"] for item in paths.values() for operation in item.values()]


def test_schemas_differ_in_nothing_but_wording(tmp_path: Path) -> None:
    schemas = []
    for program in PROGRAMS:
        file = tmp_path / f"{name(program)}.json"
        write_schema(program, file)
        # Fractions as text: Python thinks that 9.2e18 is 2**63, other readers do not.
        schemas.append(without_wording(json.loads(file.read_text(), parse_float=str)))
    assert schemas[0]["components"]["schemas"]["NewNote"]["properties"].keys() == {"title", "body"}
    for program, schema in zip(PROGRAMS, schemas, strict=True):
        assert schema == schemas[0], name(program)


@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_python_client_makes_a_round_trip(
    framework: str, schema_of: SchemaOf, database_url: str, tmp_path: Path
) -> None:
    schema = schema_of(framework)
    client = tmp_path / "client"
    generate = [BIN / "openapi-python-client", "generate", "--path", schema, "--meta", "none"]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # it formats the client with ruff
    run(tmp_path, *generate, "--output-path", client, "--fail-on-warning", PATH=path)
    generated = {file.stem for file in client.glob("api/*/*.py")} - {"__init__"}
    assert generated == {operation.replace("-", "_") for operation in operation_ids(schema)}

    async def call_service() -> None:
        settings = {"DATABASE_URL": database_url, "UPSTREAM_URL": "http://127.0.0.1:9"}
        service = Service({**PROGRAMS[0], "framework": framework}, tmp_path, **settings)
        await service.migrate()
        await service.start()
        try:
            script = [sys.executable, "-c", ROUND_TRIP, f"http://127.0.0.1:{service.port}"]
            await asyncio.to_thread(run, tmp_path, *script)
        finally:
            await service.stop()

    asyncio.run(call_service())


def npm_exec(folder: Path, package: str, *command: str | Path) -> str:
    """Run the command of a package from npm's registry."""
    npm = [BIN / "npm", "exec", "--yes", "--loglevel", "error", "--package", package, "--"]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # npm starts node
    return run(folder, *npm, *command, PATH=path, REDOCLY_TELEMETRY="off")


@pytest.mark.slow
def test_typescript_is_generated_without_a_warning(schema_of: SchemaOf, tmp_path: Path) -> None:
    for framework in CHOICES["framework"]:
        schema, file = schema_of(framework), tmp_path / f"{framework}.ts"
        printed = npm_exec(
            tmp_path, "openapi-typescript", "openapi-typescript", schema, "--output", file
        )
        assert "⚠" not in printed and "warn" not in printed.lower(), printed
        generated = re.findall(r'^    "([\w-]+)": \{$', file.read_text(), re.MULTILINE)
        assert sorted(generated) == sorted(operation_ids(schema))


@pytest.mark.slow
def test_schemas_keep_the_recommended_rules_of_redocly(schema_of: SchemaOf, tmp_path: Path) -> None:
    schemas = [schema_of(framework) for framework in CHOICES["framework"]]
    npm_exec(tmp_path, "@redocly/cli", "redocly", "lint", "--extends", "recommended", *schemas)
