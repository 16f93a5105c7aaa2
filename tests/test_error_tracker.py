"""Sentry gets an unexpected error where the README of a project says that it hooks in."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.choices import Combination, combinations, name

SCRIPT = """
import asyncio
import json

import sentry_sdk
from httpx2 import ASGITransport, AsyncClient
from sentry_sdk.transport import Transport
from starlette.routing import Route

from notes_service.main import app


class PrintingTransport(Transport):
    def capture_envelope(self, envelope):
        for event in filter(None, [envelope.get_event()]):
            [exception] = event["exception"]["values"]
            last = exception["stacktrace"]["frames"][-1]
            print("Sentry got", exception["type"], exception["value"], "from", last["function"])
            print("with" if "hunter2" in json.dumps(event, default=repr) else "without", "variables")


async def fail(request):
    title = "hunter" + str(2)
    raise RuntimeError("it failed")


app.router.routes.append(Route("/fail", fail))


async def main():
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope, receive, send):
            await app({**scope, "state": dict(state or {})}, receive, send)

        async with AsyncClient(
            transport=ASGITransport(with_state), base_url="http://test"
        ) as client:
            print("answered", (await client.get("/fail")).status_code)
            print("answered", (await client.get("/nothing")).status_code)


dsn = "http://key@127.0.0.1:9/1"  # without one Sentry is off
for options in ({}, {"include_local_variables": False}):
    sentry_sdk.init(dsn, transport=PrintingTransport, default_integrations=False, **options)
    asyncio.run(main())
"""


@pytest.mark.parametrize("program", combinations("framework"), ids=name)
def test_error_tracker_gets_unexpected_errors(
    program: Combination, render: Callable[..., Path]
) -> None:
    project = render(**program)
    readme = " ".join((project / "README.md").read_text().split())
    line = "sentry_sdk.capture_exception(error)"
    assert (
        f"gets these errors in `unexpected` (`errors.py`): with Sentry, call `{line}` there"
        in readme
    )

    errors = project / "src" / "notes_service" / "errors.py"
    log = '    log.error("unexpected error", exc_info=error)\n'
    assert errors.read_text().count(log) == 1
    errors.write_text(errors.read_text().replace(log, f"{log}    {line}\n"))
    errors.write_text(
        errors.read_text().replace("import structlog\n", "import sentry_sdk\nimport structlog\n")
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=project,
        env={
            **os.environ,
            "PYTHONPATH": "src",
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
            "UPSTREAM_URL": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    answers = ["answered 500", "answered 404"]
    event = "Sentry got RuntimeError it failed from fail"
    assert printed == [event, "with variables", *answers, event, "without variables", *answers]
    security = " ".join((project / "docs" / "security.md").read_text().split())
    assert (
        "Sentry sends the local variables of every frame, unless it is initialized with"
        " `include_local_variables=False`" in security
    )
