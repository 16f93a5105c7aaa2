"""The schema and the page that shows it."""

import re
from urllib.parse import urljoin

from httpx2 import AsyncClient
from openapi_spec_validator import validate

from tests.serving import problem


async def test_the_schema_is_valid_and_says_how_errors_look(client: AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    validate(schema)
    responses = schema["paths"]["/health/ready"]["get"]["responses"]
    assert responses.keys() == {"200", "503"}
    [(kind, content)] = responses["503"]["content"].items()
    assert kind == "application/problem+json"
    name = content["schema"]["$ref"].rpartition("/")[2]
    problem = schema["components"]["schemas"][name]
    assert {"type", "title", "status", "detail"} == set(problem["required"])


async def test_the_page_refers_to_no_other_host_and_all_it_refers_to_is_served(
    client: AsyncClient,
) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    references = re.findall(r'(?:src|href|url)(?:=|: )"([^"]+)"', page.text)
    paths = [reference for reference in references if not reference.startswith("data:")]
    assert len(paths) == 3  # style, script, schema
    for path in paths:
        answer = await client.get(urljoin("http://testserver/docs", path))
        assert answer.status_code == 200
        assert answer.content
    problem(await client.get("/docs/other.js"), 404)
