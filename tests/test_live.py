"""The rendered deploy/ files, run: nginx, gunicorn, the service, PgBouncer and PostgreSQL.

Everything is real and on loopback; only ports, paths and the host of PostgreSQL are put in. Every
address of 127.0.0.0/8 is a client of its own to nginx.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cookiecutter.main import cookiecutter
from httpx2 import AsyncClient, AsyncHTTPTransport, HTTPError, Response

ROOT = Path(__file__).parent.parent
CHOICES = json.loads((ROOT / "cookiecutter.json").read_text())
LAYERS = [
    dict(zip(("framework", "sqlalchemy", "pool"), choice, strict=True))
    for choice in product(*(CHOICES[name] for name in ("framework", "sqlalchemy", "pool")))
]
USERS = 200
POOL = 30  # connections of a worker to PgBouncer: with two workers more than 50 of its clients
SERVERS = 5  # connections of PgBouncer to PostgreSQL, so that clients change places all the time
PYTHON = sys.executable
TLS = ssl.create_default_context()  # never used, but costly to make once a client

pytestmark = pytest.mark.live


def program(name: str) -> str:
    """Find a server; without it these tests have failed, not passed."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert found, f"{name} is missing: `apt-get install {name}`, or what your system has for it"
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def connects(address: str | int) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        return client.connect_ex(address if isinstance(address, str) else ("127.0.0.1", address)) == 0


def substitute(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def render(folder: Path, **choices: str) -> Path:
    return Path(
        cookiecutter(str(ROOT), no_input=True, extra_context=choices, output_dir=str(folder))
    )


@contextmanager
def running(command: list[str | Path], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Deployment:
    """One rendered project, deployed."""

    project: Path
    folder: Path  # of the sockets, logs and changed configurations
    direct_url: str  # of PostgreSQL
    stack: ExitStack
    environment: dict[str, str] = field(default_factory=dict)
    nginx_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)  # of gunicorn, beside its socket

    @property
    def socket(self) -> str:
        return str(self.folder / "gunicorn.sock")

    def log(self, name: str) -> str:
        return (self.folder / name).read_text()

    def start_upstream(self) -> None:
        port = free_port()
        command = [PYTHON, "-m", "uvicorn", "probe:upstream", "--port", str(port)]
        command += ["--lifespan", "off", "--log-level", "warning", "--app-dir", ROOT / "tests"]
        self.stack.enter_context(running(command, self.folder / "upstream.log"))
        wait_until(lambda: connects(port))
        self.environment["UPSTREAM_URL"] = f"http://127.0.0.1:{port}"

    def start_pgbouncer(self) -> None:
        port = free_port()
        users = self.folder / "userlist.txt"
        users.write_text('"notes" "secret"\n')
        server = re.search(r"@127\.0\.0\.1:(\d+)/(.+)", self.direct_url)
        assert server
        changes = {
            "host=postgres port=5432": f"host=127.0.0.1 port={server[1]}",
            "listen_addr = 0.0.0.0": "listen_addr = 127.0.0.1",
            "listen_port = 6432": f"listen_port = {port}",
            "/etc/pgbouncer/userlist.txt": str(users),
            "default_pool_size = 20": f"default_pool_size = {SERVERS}",
        }
        configuration = self.folder / "pgbouncer.ini"
        text = (self.project / "deploy/pgbouncer.ini").read_text()
        configuration.write_text(substitute(text, changes))
        command = [program("pgbouncer"), configuration]
        nobody: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to be root
            nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        log = self.folder / "pgbouncer.log"
        self.stack.enter_context(running(command, log, **nobody))
        wait_until(lambda: connects(port))
        self.environment |= {
            "DATABASE_URL": f"postgresql://notes:secret@127.0.0.1:{port}/{server[2]}",
            "DATABASE_PGBOUNCER": "true",
            "DATABASE_CONNECTION_LIMIT": "1000",  # max_client_conn
        }

    def start_nginx(self) -> None:
        changes = {
            "/run/notes-service/gunicorn.sock": self.socket,
            "/run/nginx.pid": str(self.folder / "nginx.pid"),
            "/var/log/nginx": str(self.folder),
            "listen 80;": f"listen 127.0.0.1:{self.nginx_port};",
        }
        configuration = self.folder / "nginx.conf"
        text = (self.project / "deploy/nginx.conf").read_text()
        configuration.write_text(substitute(text, changes))
        command = [program("nginx"), "-p", f"{self.folder}/", "-c", configuration]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert tested.returncode == 0 and "warn" not in tested.stderr, tested.stderr
        nginx = running([*command, "-g", "daemon off;"], self.folder / "nginx.out")
        self.stack.enter_context(nginx)
        wait_until(lambda: connects(self.nginx_port))

    def gunicorn(self, *flags: str, application: str = "probe:app") -> list[str | Path]:
        configuration = self.project / "deploy/gunicorn.conf.py"
        return [PYTHON, "-m", "gunicorn", "--config", configuration, *flags, application]

    def gunicorn_environment(self, **changes: str) -> dict[str, str]:
        # Nothing of the caller's but where programs are.
        path = os.pathsep.join([str(self.project / "src"), str(ROOT / "tests")])
        inherited = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder / "tmp")}
        return inherited | {"PYTHONPATH": path, "WEB_CONCURRENCY": "2"} | self.environment | changes

    def start_gunicorn(self, **changes: str) -> subprocess.Popen[bytes]:
        command = self.gunicorn("--bind", f"unix:{self.socket}", "--bind", f"127.0.0.1:{self.port}")
        process = self.stack.enter_context(
            running(
                command,
                self.folder / "gunicorn.log",
                cwd=self.project,
                env=self.gunicorn_environment(**changes),
            )
        )
        wait_until(lambda: process.poll() is not None or len(booted(process)) == 2)
        assert process.poll() is None, self.log("gunicorn.log")
        return process

    @asynccontextmanager
    async def client(self, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[AsyncClient]:
        """A client at `address`, of nginx unless `port` says otherwise."""
        transport = AsyncHTTPTransport(local_address=address, verify=TLS)
        url = f"http://127.0.0.1:{port or self.nginx_port}"
        async with AsyncClient(transport=transport, base_url=url, timeout=30) as client:
            yield client

    def ask(self, method: str, path: str, address: str = "127.0.0.1", **options: Any) -> Response:
        """Ask once, on a connection of its own."""

        async def ask() -> Response:
            async with self.client(address, options.pop("port", 0)) as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def query(self, statement: str) -> Any:
        """Ask PostgreSQL itself for a value."""

        async def query() -> Any:
            connection = await asyncpg.connect(self.direct_url, user="postgres")
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return asyncio.run(query())


def children(process: subprocess.Popen[bytes]) -> set[int]:
    try:
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return {int(pid) for pid in path.read_text().split()}
    except OSError:
        return set()


def booted(process: subprocess.Popen[bytes]) -> set[int]:
    """Find the workers that accept connections: those that have an event loop."""
    return {
        pid
        for pid in children(process)
        if any("eventpoll" in link for link in links(Path(f"/proc/{pid}/fd")))
    }


def links(folder: Path) -> Iterator[str]:
    try:
        for path in folder.iterdir():
            yield os.readlink(path)
    except OSError:
        return


@pytest.fixture(scope="session")
def workplace() -> Iterator[Path]:
    """A folder that the users which servers run as may enter."""
    folder = Path(tempfile.mkdtemp(prefix="live-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_url(workplace: Path) -> Iterator[str]:
    sys.path.insert(0, str(ROOT / "templates" / "common"))
    from scripts.postgres import postgres

    with postgres() as url:
        role = "CREATE ROLE notes LOGIN PASSWORD 'secret'"
        asyncio.run(execute(url, role))
        yield url


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def deployed(workplace: Path, postgres_url: str, **choices: str) -> Iterator[Deployment]:
    name = "_".join(choices.values())
    folder = workplace / name
    (folder / "tmp").mkdir(parents=True)
    project = render(folder, **choices)
    asyncio.run(execute(postgres_url, f"CREATE DATABASE {name} OWNER notes"))
    url = postgres_url.replace("postgres@", "notes@").replace("/postgres", f"/{name}")
    with ExitStack() as stack:
        deployment = Deployment(project, folder, url, stack)
        deployment.start_upstream()
        deployment.environment["DATABASE_URL"] = url
        subprocess.run(
            [PYTHON, "-m", "alembic", "upgrade", "head"],
            cwd=project,
            env=deployment.gunicorn_environment(),
            check=True,
            capture_output=True,
        )
        deployment.start_pgbouncer()
        deployment.start_nginx()
        yield deployment


@pytest.fixture(scope="module", params=LAYERS, ids=lambda choices: "-".join(choices.values()))
def deployment(
    request: pytest.FixtureRequest, workplace: Path, postgres_url: str
) -> Iterator[Deployment]:
    with deployed(workplace, postgres_url, **request.param) as deployment:
        deployment.master = deployment.start_gunicorn()
        yield deployment


def address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"
