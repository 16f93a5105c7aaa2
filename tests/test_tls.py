"""TLS to PostgreSQL: `sslmode` in DATABASE_URL, on real certificates, in every data layer."""

import asyncio
import json
import os
import ssl
import struct
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.choices import PROGRAMS, TEMPLATES, Combination, combinations, name, rooms

TLS_REQUEST = struct.pack("!ii", 8, 80877103)
# Whether the service on each of these URLs says that its database is there.
READY = """
import asyncio, json, sys
from httpx2 import ASGITransport, AsyncClient
from service.app import create_app
from service.logs import configure
from service.settings import Settings

async def ready(url):
    settings = Settings.load(
        _env_file=None, database_url=url, upstream_url="http://127.0.0.1", log_level="critical"
    )
    configure(settings)
    app = create_app(settings)
    async with app.router.lifespan_context(app) as state:
        async def with_state(scope, receive, send):
            await app({**scope, "state": dict(state)}, receive, send)
        async with AsyncClient(transport=ASGITransport(with_state), base_url="http://x") as client:
            status = (await client.get("/health/ready")).status_code
            assert status in (200, 503)
            return status == 200

async def main():
    return [await ready(url) for url in sys.argv[1:]]

print(json.dumps(asyncio.run(main())))
"""


# Whether a migration on each of these URLs comes to its end.
MIGRATE = """
import json, os, sys
from alembic import command
from alembic.config import Config

def migrates(url):
    os.environ["DATABASE_URL"] = url
    try:
        command.upgrade(config, "head")
    except OSError:
        return False
    return True

config = Config()
config.set_main_option("script_location", sys.argv[1])
print(json.dumps([migrates(url) for url in sys.argv[2:]]))
"""


class Door:
    """PostgreSQL behind TLS: the embedded one is built without, so this has it in its place."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self._to = port
        self._context = context
        self.sessions: list[str] = []  # of each client that said who it is, "plain" or "TLS"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            first = await reader.readexactly(8)
            if first == TLS_REQUEST:
                writer.write(b"S" if self._context else b"N")
                if self._context:
                    await writer.start_tls(self._context)
                first = await reader.readexactly(8)
            self.sessions.append("TLS" if writer.get_extra_info("ssl_object") else "plain")
            to.write(first)
            await asyncio.gather(carry(reader, to), carry(there, writer))
        except (ssl.SSLError, OSError, EOFError):
            pass  # the client did not like what it saw
        finally:
            to.close()
            writer.close()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


# The host that is asked for, what the URL says, whether the server has TLS: what comes of it.
CASES = {
    ("localhost", "sslmode=verify-full&sslrootcert={signer}", True): "TLS",
    ("127.0.0.1", "sslmode=verify-full&sslrootcert={signer}", True): "refused",  # another name
    ("localhost", "sslmode=verify-full&sslrootcert={stranger}", True): "refused",
    ("localhost", "sslmode=verify-full&sslrootcert={missing}", True): "refused",
    ("localhost", "sslmode=verify-full&sslrootcert={signer}", False): "refused",
    ("127.0.0.1", "sslmode=verify-ca&sslrootcert={signer}", True): "TLS",
    ("localhost", "sslmode=verify-ca&sslrootcert={stranger}", True): "refused",
    ("localhost", "sslmode=verify-ca&sslrootcert={signer}", False): "refused",
    ("127.0.0.1", "sslmode=require", True): "TLS",
    ("127.0.0.1", "sslmode=require", False): "refused",
    ("127.0.0.1", "sslmode=prefer", True): "TLS",
    ("127.0.0.1", "sslmode=prefer", False): "plain",
    ("127.0.0.1", "", True): "TLS",
    ("127.0.0.1", "sslmode=allow", True): "plain",
    ("127.0.0.1", "sslmode=disable", True): "plain",
}


async def outcomes(program: Combination, url: str, folder: Path, *command: str) -> list[str]:
    """Run `command` on a URL for every case, and tell how it reached PostgreSQL, if it did."""
    signer, stranger = trustme.CA(), trustme.CA()
    files = {name: str(folder / name) for name in ("signer", "stranger", "missing")}
    signer.cert_pem.write_to_path(files["signer"])
    stranger.cert_pem.write_to_path(files["stranger"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert("localhost").configure_cert(context)

    address, _, database = url.rpartition("/")
    port = int(address.rpartition(":")[2])
    doors = [Door(port, context if tls else None) for _, _, tls in CASES]
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(door.opened()) for door in doors]
        urls = [
            f"postgresql://postgres@{host}:{port}/{database}?{query.format(**files)}"
            for port, (host, query, _) in zip(opened, CASES, strict=True)
        ]
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-W", "error", "-c", *command, *urls],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, rooms(program)))},
            stdout=PIPE,
            stderr=PIPE,
        )
        said, errors = await process.communicate()
        assert process.returncode == 0, errors
        done = json.loads(said.splitlines()[-1])
    # Whoever was refused has not even said who it is.
    assert [bool(door.sessions) for door in doors] == done
    return ["/".join(sorted(set(door.sessions))) or "refused" for door in doors]


@pytest.mark.slow
@pytest.mark.parametrize("layer", combinations("sqlalchemy", "pool"), ids=name)
def test_sslmode_is_honoured_and_a_database_that_is_not_trusted_is_not_there(
    layer: Combination, database_url: str, tmp_path: Path
) -> None:
    program = {**PROGRAMS[0], **layer}
    found = asyncio.run(outcomes(program, database_url, tmp_path, READY))
    assert dict(zip(CASES, found, strict=True)) == CASES


def test_migrations_honour_it_too(database_url: str, tmp_path: Path) -> None:
    migrations = str(TEMPLATES / "common" / "migrations")
    found = asyncio.run(outcomes(PROGRAMS[0], database_url, tmp_path, MIGRATE, migrations))
    assert dict(zip(CASES, found, strict=True)) == CASES
