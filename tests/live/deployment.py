"""A rendered project with its deploy/ files, run on this machine."""

import asyncio
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from httpx2 import AsyncClient, AsyncHTTPTransport, Response

from tests.choices import ROOT
from tests.support.network import accepts_connections, free_port
from tests.support.postgres import execute
from tests.support.rendering import render_into
from tests.support.waiting import wait_until

USERS = 200
POOL_SIZE = 30  # of a worker: two workers together use more than 50 clients of PgBouncer
SERVER_CONNECTIONS = 5  # of PgBouncer to PostgreSQL, so that its clients share them all the time
PATIENCE = 30  # seconds to wait for a connection, instead of 5: the machine may be busy
PYTHON = sys.executable
IPV6 = Path("/proc/net/if_inet6").exists()
TLS = ssl.create_default_context()  # never used, but slow to create for each client


def program(name: str, package: str = "") -> str:
    """Return the path of a server. Without it these tests have failed, not passed."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    install = f"`apt-get install {package or name}`, or the package of your system"
    assert path, f"{name} is missing: {install}"
    return path


def substitute(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def running(
    command: list[str | Path], log: Path, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass
class Deployment:
    """One rendered project, deployed."""

    project: Path
    folder: Path  # of sockets, logs and changed configurations
    direct_url: str  # of PostgreSQL
    stack: ExitStack
    master: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    nginx_port: int = 0
    port: int = field(default_factory=free_port)  # of gunicorn, in addition to its socket

    @property
    def socket(self) -> str:
        return str(self.folder / "gunicorn.sock")

    def log(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def start_upstream(self) -> None:
        port = free_port()
        command: list[str | Path] = [PYTHON, "-m", "tests.support.upstream", str(port)]
        self.stack.enter_context(running(command, self.folder / "upstream.log", cwd=ROOT))
        wait_until(lambda: accepts_connections(port))
        self.environment["UPSTREAM_URL"] = f"http://127.0.0.1:{port}"

    def start_pgbouncer(self, name: str = "pgbouncer", **settings: int) -> dict[str, str]:
        """Start PgBouncer with these settings, and return what the service needs to use it."""
        port = free_port()
        users = self.folder / "userlist.txt"
        users.write_text('"service" "secret"\n')
        server = re.search(r"@127\.0\.0\.1:(\d+)/(.+)", self.direct_url)
        assert server
        changes = {
            "host=postgres port=5432": f"host=127.0.0.1 port={server[1]}",
            "listen_addr = 0.0.0.0": "listen_addr = 127.0.0.1",
            "listen_port = 6432": f"listen_port = {port}",
            "/etc/pgbouncer/userlist.txt": str(users),
            "default_pool_size = 20": f"default_pool_size = {SERVER_CONNECTIONS}",
            "query_wait_timeout = 5": f"query_wait_timeout = {PATIENCE}",
        }
        configuration = self.folder / f"{name}.ini"
        text = substitute((self.project / "deploy/pgbouncer.ini").read_text(), changes)
        for setting, value in settings.items():
            text, count = re.subn(rf"^{setting} = \d+$", f"{setting} = {value}", text, flags=re.M)
            assert count == 1, setting
        configuration.write_text(text)
        command = [program("pgbouncer"), configuration]
        nobody: dict[str, Any] = {}
        if os.getuid() == 0:  # PgBouncer refuses to run as root
            nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        log = self.folder / f"{name}.log"
        self.stack.enter_context(running(command, log, **nobody))
        wait_until(lambda: accepts_connections(port))
        return {
            "DATABASE_URL": f"postgresql://service:secret@127.0.0.1:{port}/{server[2]}",
            "DATABASE_PGBOUNCER": "true",
            "DATABASE_CONNECTION_LIMIT": "1000",  # max_client_conn
        }

    def start_nginx(self, name: str, changes: dict[str, str]) -> int:
        """Start nginx on the rendered configuration with `changes`, and return its port."""
        port = free_port()
        changes |= {
            "/run/nginx.pid": f"{self.folder}/{name}.pid",
            "/var/log/nginx": str(self.folder),
            "listen 80;": f"listen 127.0.0.1:{port};",
            # A container may have no ::1, and a kernel no IPv6 at all.
            "listen [::]:80;": f"listen [::]:{port};" if IPV6 else "",
        }
        if os.getuid() != 0:
            changes["user www-data;"] = "#"  # nginx warns that only root can change the user
        configuration = self.folder / f"{name}.conf"
        text = substitute((self.project / "deploy/nginx.conf").read_text(), changes)
        # Not one of `changes`, because those may have put other servers in its place.
        configuration.write_text(text.replace("/run/notes-service/gunicorn.sock", self.socket))
        command = [program("nginx"), "-p", f"{self.folder}/", "-c", configuration]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert tested.returncode == 0 and "warn" not in tested.stderr, tested.stderr
        nginx = running([*command, "-g", "daemon off;"], self.folder / f"{name}.out")
        self.stack.enter_context(nginx)
        wait_until(lambda: accepts_connections(port))
        return port

    def gunicorn(self, *flags: str, application: str = "inspected_app:app") -> list[str | Path]:
        configuration = self.project / "deploy/gunicorn.conf.py"
        return [PYTHON, "-m", "gunicorn", "--config", configuration, *flags, application]

    def gunicorn_environment(self, **changes: str) -> dict[str, str]:
        # Of the caller's environment only the path of programs.
        path = os.pathsep.join([str(self.project / "src"), str(ROOT / "tests/live")])
        inherited = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder / "tmp")}
        return inherited | {"PYTHONPATH": path, "WEB_CONCURRENCY": "2"} | self.environment | changes

    def start_gunicorn(self, *flags: str, **changes: str) -> subprocess.Popen[bytes]:
        started = self.workers_started()
        binds = ("--bind", f"unix:{self.socket}", "--bind", f"127.0.0.1:{self.port}")
        command = self.gunicorn(*binds, *flags)
        process = self.stack.enter_context(
            running(
                command,
                self.folder / "gunicorn.log",
                cwd=self.project,
                env=self.gunicorn_environment(**changes),
            )
        )
        self.wait_for_workers(process, started + 2)
        return process

    def workers_started(self) -> int:
        """Count the workers that have ever been ready."""
        return self.log("gunicorn.log").count("Application startup complete")

    def wait_for_workers(self, master: subprocess.Popen[bytes], number: int) -> None:
        wait_until(lambda: master.poll() is not None or self.workers_started() >= number)
        assert master.poll() is None, self.log("gunicorn.log")

    @asynccontextmanager
    async def client(self, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[AsyncClient]:
        """Return a client at `address`, of nginx or of another `port`."""
        transport = AsyncHTTPTransport(local_address=address, verify=TLS)
        url = f"http://127.0.0.1:{port or self.nginx_port}"
        async with AsyncClient(transport=transport, base_url=url, timeout=30) as client:
            yield client

    def ask(self, method: str, path: str, address: str = "127.0.0.1", **options: Any) -> Response:
        """Send one request, on a new connection."""

        async def ask() -> Response:
            async with self.client(address, options.pop("port", 0)) as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def query(self, statement: str) -> Any:
        """Return a value from PostgreSQL, past PgBouncer."""

        async def query() -> Any:
            connection = await asyncpg.connect(self.direct_url, user="postgres")
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return asyncio.run(query())


def child_processes(process: subprocess.Popen[bytes]) -> set[int]:
    try:
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return {int(pid) for pid in path.read_text().split()}
    except OSError:
        return set()


def migrate(deployment: Deployment, **changes: str) -> None:
    subprocess.run(
        [PYTHON, "-m", "alembic", "upgrade", "head"],
        cwd=deployment.project,
        env=deployment.gunicorn_environment(**changes),
        check=True,
        capture_output=True,
        text=True,
    )


@contextmanager
def deployed(workplace: Path, postgres_url: str, **choices: str) -> Iterator[Deployment]:
    name = "_".join(choices.values())
    folder = workplace / name
    (folder / "tmp").mkdir(parents=True)
    project = render_into(folder, **choices)
    asyncio.run(execute(postgres_url, f"CREATE DATABASE {name} OWNER service"))
    url = postgres_url.replace("postgres@", "service@").replace("/postgres", f"/{name}")
    with ExitStack() as stack:
        deployment = Deployment(project, folder, url, stack)
        deployment.start_upstream()
        deployment.environment["DATABASE_URL"] = url
        migrate(deployment)
        deployment.environment |= deployment.start_pgbouncer()
        deployment.nginx_port = deployment.start_nginx("nginx", {})
        yield deployment


def stop(master: subprocess.Popen[bytes]) -> None:
    master.terminate()
    assert master.wait(timeout=40) == 0


def start_and_fail(
    deployment: Deployment, *flags: str, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Start gunicorn with settings that it should refuse, and wait until it has ended."""
    process = subprocess.Popen(
        deployment.gunicorn("--bind", f"127.0.0.1:{deployment.port}", *flags),
        cwd=deployment.project,
        env=deployment.gunicorn_environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its workers, too
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, *output)


def without_pgbouncer(deployment: Deployment) -> dict[str, str]:
    return {
        "DATABASE_URL": deployment.direct_url,
        "DATABASE_PGBOUNCER": "false",
        "DATABASE_CONNECTION_LIMIT": "",
    }


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Check that gunicorn ended with one line and before any worker; return the line."""
    assert done.returncode == 1, done.stderr
    assert "Booting worker" not in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    return line


def address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


def problem(answer: Response, status: int) -> dict[str, Any]:
    """Check that `answer` is a problem of this status, whichever program sent it; return its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert len(answer.headers.get_list("retry-after")) == (status in (429, 502, 503))
    assert answer.headers["x-content-type-options"] == "nosniff"
    body: dict[str, Any] = answer.json()
    assert body.keys() == {"type", "title", "status", "detail"}
    assert body["status"] == status
    return body


def total(metrics: str, name: str, **labels: str) -> float:
    """Add up the samples of a metric in the text for Prometheus."""
    lines = [line for line in metrics.splitlines() if re.match(rf"{name}(?:{{|\s)", line)]
    selected = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(line.split()[-1]) for line in lines if all(text in line for text in selected))
