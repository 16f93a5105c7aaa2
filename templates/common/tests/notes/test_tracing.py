"""The trace of a synchronization: its statements, and the call to the upstream."""

from pathlib import Path

from httpx2 import AsyncClient
from pydantic import SecretStr

from tests.collector import collect
from tests.notes.upstream import UpstreamStub
from tests.postgres_proxy import PostgresProxy
from tests.process import run_service
from tests.serving import Settings
from tests.temporary_database import Sql


async def test_trace_of_a_synchronization(
    settings: Settings,
    postgres_proxy: PostgresProxy,
    upstream: UpstreamStub,
    tmp_path: Path,
    sql: Sql,
) -> None:
    settings = settings.model_copy(update={"database_url": SecretStr(postgres_proxy.url)})
    with collect() as collector:
        environment = {**collector.settings, "UPSTREAM_URL": settings.upstream_url}
        async with (
            run_service(settings, tmp_path, **environment) as process,
            AsyncClient(base_url=process.url) as client,
        ):
            await client.post("/notes", json={"title": "one", "body": "first"})
            postgres_proxy.statements.clear()
            assert (await client.post("/notes/1/synchronize")).status_code == 200
        [request] = await collector.wait_for("POST /notes/{note_id}/synchronize")
        below = collector.tree(request)
    assert {span.parent_id for span in below} == {request.span_id}
    call = next(span for span in below if span.statement is None)
    before, after = below[: below.index(call)], below[below.index(call) + 1 :]
    assert [span.statement for span in before + after] == postgres_proxy.statements
    assert before
    names = [span.name.rstrip(";") for span in (*after[:1], call, *after[-1:])]
    assert names == ["BEGIN", "POST", "COMMIT"]
    assert not [span for span in below if "first" in span.text]
    [(_, headers, _)] = upstream.received
    assert headers["traceparent"].startswith(f"00-{call.trace_id}-{call.span_id}-")
