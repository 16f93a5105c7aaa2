"""The OpenAPI schema and the page that shows it."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from urllib.parse import urljoin

from httpx2 import AsyncClient
from openapi_spec_validator import validate

from tests.serving import Settings, assert_problem

PROJECT = Path(__file__).parent.parent


async def test_schema_is_valid_and_describes_errors(client: AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    validate(schema)
    responses = schema["paths"]["/health/ready"]["get"]["responses"]
    assert responses.keys() == {"200", "503"}
    [(media_type, content)] = responses["503"]["content"].items()
    assert media_type == "application/problem+json"
    name = content["schema"]["$ref"].rpartition("/")[2]
    problem = schema["components"]["schemas"][name]
    assert {"type", "title", "status", "detail"} == set(problem["required"])


async def test_script_writes_the_schema_without_settings(
    client: AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "openapi.json"
    settings = {name for name in os.environ if name.lower() in Settings.model_fields}
    command = [sys.executable, "-W", "error", "-m", "scripts.openapi", str(file)]
    script = await asyncio.create_subprocess_exec(
        *command,
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name not in settings},
        stdout=PIPE,
        stderr=STDOUT,
    )
    output, _ = await script.communicate()
    assert output.decode() == f"Wrote {file}\n"
    assert json.loads(file.read_text()) == (await client.get("/openapi.json")).json()


async def test_page_loads_all_its_files_from_the_service(client: AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    references = re.findall(r'(?:src|href|url)(?:=|: )"([^"]+)"', page.text)
    paths = [reference for reference in references if not reference.startswith("data:")]
    assert len(paths) == 3  # style, script, schema
    for path in paths:
        response = await client.get(urljoin("http://testserver/docs", path))
        assert response.status_code == 200
        assert response.content
    assert_problem(await client.get("/docs/other.js"), 404)
