"""TLS to PostgreSQL: `sslmode` in DATABASE_URL, on real certificates, in every data layer."""

import asyncio
import json
import os
import ssl
import struct
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
import trustme

from tests.choices import PROGRAMS, TEMPLATES, Combination, combinations, name, python_path
from tests.support.tcp_proxy import TcpProxy

TLS_REQUEST = struct.pack("!ii", 8, 80877103)
# Prints whether the service is ready, for each of these URLs.
READY = """
import asyncio, json, sys
from httpx2 import ASGITransport, AsyncClient
from service.app import create_app
from service.logs import configure
from service.settings import InvalidSettings, Settings

async def ready(url):
    options = {"upstream_url": "http://127.0.0.1", "log_level": "critical"}
    try:
        settings = Settings.load(_env_file=None, database_url=url, **options)
    except InvalidSettings:
        return False
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

# Prints whether a migration succeeds, for each of these URLs.
MIGRATE = """
import json, os, sys
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

def migrates(url):
    os.environ["DATABASE_URL"] = url
    try:
        command.upgrade(config, "head")
    except CommandError:
        return False
    return True

config = Config()
config.set_main_option("script_location", sys.argv[1])
print(json.dumps([migrates(url) for url in sys.argv[2:]]))
"""


class TlsProxy(TcpProxy):
    """A proxy that speaks TLS with the client: the embedded PostgreSQL is built without it."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self._context = context
        self.sessions: list[str] = []  # "plain" or "TLS", of each client that named its user

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        first = await reader.readexactly(8)
        if first == TLS_REQUEST:
            writer.write(b"S" if self._context else b"N")
            if self._context:
                await writer.start_tls(self._context)
            first = await reader.readexactly(8)
        self.sessions.append("TLS" if writer.get_extra_info("ssl_object") else "plain")
        return first


# The host, the query of the URL and whether the server has TLS, to the resulting connection.
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
    ("localhost", "sslmode=require&channel_binding=require", True): "TLS",
    ("localhost", "sslrootcert=system", True): "refused",
    ("127.0.0.1", "sslmode=require", False): "refused",
    ("127.0.0.1", "sslmode=prefer", True): "TLS",
    ("127.0.0.1", "sslmode=prefer", False): "plain",
    ("127.0.0.1", "", True): "TLS",
    ("127.0.0.1", "sslmode=allow", True): "plain",
    ("127.0.0.1", "sslmode=disable", True): "plain",
}


async def outcomes(program: Combination, url: str, folder: Path, *command: str) -> list[str]:
    """Run `command` on one URL for each case, and return how it reached PostgreSQL, if it did."""
    signer, stranger = trustme.CA(), trustme.CA()
    files = {name: str(folder / name) for name in ("signer", "stranger", "missing")}
    signer.cert_pem.write_to_path(files["signer"])
    stranger.cert_pem.write_to_path(files["stranger"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert("localhost").configure_cert(context)

    address, _, database = url.rpartition("/")
    proxies = [TlsProxy(context if tls else None) for _, _, tls in CASES]
    for proxy in proxies:
        await proxy.open(int(address.rpartition(":")[2]))
    urls = [
        f"postgresql://postgres@{host}:{proxy.port}/{database}?{query.format(**files)}"
        for proxy, (host, query, _) in zip(proxies, CASES, strict=True)
    ]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-W", "error", "-c", *command, *urls],
        env={**os.environ, "PYTHONPATH": python_path(program)},
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors
    for proxy in proxies:
        await proxy.close()
    # A client that was refused has not even sent the name of its user.
    assert [bool(proxy.sessions) for proxy in proxies] == json.loads(output.splitlines()[-1])
    return ["/".join(sorted(set(proxy.sessions))) or "refused" for proxy in proxies]


@pytest.mark.slow
@pytest.mark.parametrize("layer", combinations("sqlalchemy", "pool"), ids=name)
def test_service_honours_sslmode(layer: Combination, database_url: str, tmp_path: Path) -> None:
    program = {**PROGRAMS[0], **layer}
    results = asyncio.run(outcomes(program, database_url, tmp_path, READY))
    assert dict(zip(CASES, results, strict=True)) == CASES


def test_migrations_honour_sslmode(database_url: str, tmp_path: Path) -> None:
    migrations = str(TEMPLATES / "common" / "migrations")
    results = asyncio.run(outcomes(PROGRAMS[0], database_url, tmp_path, MIGRATE, migrations))
    assert dict(zip(CASES, results, strict=True)) == CASES
