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
from configparser import ConfigParser
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trustme
import yaml
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
PATIENCE = 30  # seconds to wait for a connection, instead of 5: the machine may be busy
PYTHON = sys.executable
IPV6 = Path("/proc/net/if_inet6").exists()
TLS = ssl.create_default_context()  # never used, but costly to make once a client

pytestmark = pytest.mark.live


def program(name: str, package: str = "") -> str:
    """Find a server; without it these tests have failed, not passed."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    get = f"`apt-get install {package or name}`, or what your system has for it"
    assert found, f"{name} is missing: {get}"
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
        return (
            client.connect_ex(address if isinstance(address, str) else ("127.0.0.1", address)) == 0
        )


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
    folder: Path  # of the sockets, logs and changed configurations
    direct_url: str  # of PostgreSQL
    stack: ExitStack
    master: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    nginx_port: int = 0
    port: int = field(default_factory=free_port)  # of gunicorn, beside its socket

    @property
    def socket(self) -> str:
        return str(self.folder / "gunicorn.sock")

    def log(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

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
            "query_wait_timeout = 5": f"query_wait_timeout = {PATIENCE}",
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

    def start_nginx(self, name: str, changes: dict[str, str]) -> int:
        """Start nginx on the rendered configuration with `changes`, and return its port."""
        port = free_port()
        changes |= {
            "/run/notes-service/gunicorn.sock": self.socket,
            "/run/nginx.pid": f"{self.folder}/{name}.pid",
            "/var/log/nginx": str(self.folder),
            "listen 80;": f"listen 127.0.0.1:{port};",
            # A container may have no ::1, and a kernel no IPv6 at all.
            "listen [::]:80;": f"listen [::]:{port};" if IPV6 else "",
        }
        if os.getuid() != 0:
            changes["user www-data;"] = "#"  # nginx warns: only root may change
        configuration = self.folder / f"{name}.conf"
        text = (self.project / "deploy/nginx.conf").read_text()
        configuration.write_text(substitute(text, changes))
        command = [program("nginx"), "-p", f"{self.folder}/", "-c", configuration]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert tested.returncode == 0 and "warn" not in tested.stderr, tested.stderr
        nginx = running([*command, "-g", "daemon off;"], self.folder / f"{name}.out")
        self.stack.enter_context(nginx)
        wait_until(lambda: connects(port))
        return port

    def gunicorn(self, *flags: str, application: str = "probe:app") -> list[str | Path]:
        configuration = self.project / "deploy/gunicorn.conf.py"
        return [PYTHON, "-m", "gunicorn", "--config", configuration, *flags, application]

    def gunicorn_environment(self, **changes: str) -> dict[str, str]:
        # Nothing of the caller's but where programs are.
        path = os.pathsep.join([str(self.project / "src"), str(ROOT / "tests")])
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
        compose = (ROOT / "templates/common/deploy/compose.yaml").read_text()
        roles = re.findall("^ +((?:CREATE|ALTER) ROLE .*);$", compose, re.MULTILINE)
        roles = [statement.replace("${DATABASE_PASSWORD:?}", "secret") for statement in roles]
        asyncio.run(execute(url, *roles))
        yield url


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


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
    project = render(folder, **choices)
    asyncio.run(execute(postgres_url, f"CREATE DATABASE {name} OWNER notes"))
    url = postgres_url.replace("postgres@", "notes@").replace("/postgres", f"/{name}")
    with ExitStack() as stack:
        deployment = Deployment(project, folder, url, stack)
        deployment.start_upstream()
        deployment.environment["DATABASE_URL"] = url
        migrate(deployment)
        deployment.start_pgbouncer()
        deployment.nginx_port = deployment.start_nginx("nginx", {})
        yield deployment


@pytest.fixture(scope="module", params=LAYERS, ids=lambda choices: "-".join(choices.values()))
def deployment(
    request: pytest.FixtureRequest, workplace: Path, postgres_url: str
) -> Iterator[Deployment]:
    with deployed(workplace, postgres_url, **request.param) as deployment:
        deployment.environment["DATABASE_POOL_SIZE"] = str(POOL)
        deployment.environment["DATABASE_POOL_TIMEOUT"] = str(PATIENCE)
        deployment.master = deployment.start_gunicorn()
        yield deployment


def address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


def problem(answer: Response, status: int) -> dict[str, Any]:
    """Check that `answer` is a problem as the contract has it, whoever made it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert len(answer.headers.get_list("retry-after")) == (status in (429, 502, 503))
    assert answer.headers["x-content-type-options"] == "nosniff"
    body: dict[str, Any] = answer.json()
    assert body.keys() == {"type", "title", "status", "detail"}
    assert body["status"] == status
    return body


async def use(client: AsyncClient, name: str) -> None:
    """Do what the contract offers, once, and check every answer."""
    created = await client.post("/notes", json={"title": name, "body": name * 10})
    assert created.status_code == 201, created.text
    path = created.headers["location"]
    read = await client.get(path)
    assert (read.status_code, read.json()["title"]) == (200, name), read.text
    unchanged = await client.get(path, headers={"If-None-Match": read.headers["etag"]})
    assert unchanged.status_code == 304, unchanged.text
    first = {"If-Match": read.headers["etag"]}
    changed = await client.patch(path, json={"title": f"{name} changed"}, headers=first)
    assert (changed.status_code, changed.json()["version"]) == (200, 2), changed.text
    stale = await client.patch(path, json={"title": "lost"}, headers=first)
    assert stale.status_code == 412, stale.text
    synchronized = await client.post(f"{path}/synchronize")
    assert synchronized.status_code == 200, synchronized.text
    assert synchronized.json()["title"] == f"{name} changed"
    assert synchronized.json()["body"] == f"{name * 10} synchronized"
    history = await client.get(f"{path}/revisions")
    titles = [revision["title"] for revision in history.json()["items"]]
    assert titles == [f"{name} changed", f"{name} changed", name], history.text
    after = int(path.rpartition("/")[2]) - 1
    page = await client.get("/notes", params={"limit": 1, "after": after, "synchronized": True})
    assert [note["title"] for note in page.json()["items"]] == [f"{name} changed"], page.text
    deleted = await client.delete(path, headers={"If-Match": synchronized.headers["etag"]})
    assert deleted.status_code == 204, deleted.text
    gone = await client.get(path)
    assert gone.status_code == 404, gone.text


def test_200_users_at_once_meet_no_error(deployment: Deployment) -> None:
    async def user(number: int) -> None:
        async with deployment.client(address(number)) as client:
            await use(client, f"user {number}")

    async def everybody() -> None:
        async with asyncio.TaskGroup() as users:
            for number in range(USERS):
                users.create_task(user(number))

    asyncio.run(everybody())
    # That they shared what PgBouncer has, which is what the test is about.
    statement = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'notes' AND datname = '{}'"
    assert deployment.query(statement.format(deployment.folder.name)) == SERVERS
    assert deployment.log("pgbouncer.log").count("login attempt") > 2 * SERVERS
    assert "unexpected error" not in deployment.log("gunicorn.log")


def test_one_client_that_asks_too_much_is_refused(deployment: Deployment) -> None:
    async def everything_at_once() -> list[Response]:
        async with deployment.client("127.2.0.1") as client:
            requests = [client.get("/health/live") for _ in range(USERS)]
            return await asyncio.gather(*requests)

    answers = asyncio.run(everything_at_once())
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < USERS
    for answer in refused:
        problem(answer, 429)
    assert deployment.ask("GET", "/health/live", "127.2.0.2").status_code == 200


def test_one_client_that_keeps_too_many_connections_is_refused(deployment: Deployment) -> None:
    unfinished = b"POST /notes HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(100):
            own = ("127.2.1.1", 0)
            client = socket.create_connection(("127.0.0.1", deployment.nginx_port), 10, own)
            stack.enter_context(client).sendall(unfinished)
        time.sleep(1)  # so that it is not refused for asking too often
        problem(deployment.ask("GET", "/health/live", "127.2.1.1"), 429)
        assert deployment.ask("GET", "/health/live", "127.2.1.2").status_code == 200


def test_if_match_works_through_gzip(deployment: Deployment) -> None:
    path = deployment.ask("POST", "/notes", json={"title": "x", "body": "x" * 5000}).headers[
        "location"
    ]
    read = deployment.ask("GET", path, headers={"Accept-Encoding": "gzip"})
    assert read.headers["content-encoding"] == "gzip"
    assert read.headers["etag"] == 'W/"1"', "nginx does not weaken it: is it compressed?"
    condition = {"If-Match": read.headers["etag"]}
    assert deployment.ask("PATCH", path, json={"title": "y"}, headers=condition).status_code == 200
    assert deployment.ask("PATCH", path, json={"title": "z"}, headers=condition).status_code == 412


@pytest.mark.parametrize("client", ["127.0.0.1", "127.3.0.1"])
def test_where_a_request_comes_from_arrives_and_cannot_be_made_up(
    deployment: Deployment, client: str
) -> None:
    lies = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example.com",
        "X-Forwarded-Port": "666",
        "Forwarded": "for=6.6.6.6",
    }
    seen = deployment.ask("GET", "/health/live", client, headers=lies).headers
    assert (seen["x-seen-client"], seen["x-seen-scheme"]) == (client, "http")
    assert seen["x-seen-forwarded"] == f"x-forwarded-for={client} x-forwarded-proto=http"


def seen_past_nginx(deployment: Deployment, client: str) -> tuple[str, str]:
    lies = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
    answer = deployment.ask("GET", "/health/live", client, headers=lies, port=deployment.port)
    return answer.headers["x-seen-client"], answer.headers["x-seen-scheme"]


def test_who_comes_past_nginx_is_not_believed(deployment: Deployment) -> None:
    assert seen_past_nginx(deployment, "127.0.0.1") == ("127.0.0.1", "http")


def test_a_request_id_arrives_and_is_in_both_logs(deployment: Deployment) -> None:
    mine = {"X-Request-ID": f"mine-{deployment.folder.name}"}
    assert (
        deployment.ask("GET", "/notes", headers=mine).headers["x-request-id"]
        == mine["X-Request-ID"]
    )
    made = deployment.ask("GET", "/notes", headers={"X-Request-ID": "in sane"}).headers[
        "x-request-id"
    ]
    assert re.fullmatch("[0-9a-f]{32}", made)
    for identity in (mine["X-Request-ID"], made):
        for log in ("access.log", "gunicorn.log"):
            told = f'"request_id":"{identity}"'
            wait_until(lambda log=log, told=told: told in deployment.log(log))
    for line in deployment.log("access.log").splitlines():
        json.loads(line)


def total(metrics: str, name: str, **labels: str) -> float:
    """Add up what Prometheus' text has of a metric."""
    lines = [line for line in metrics.splitlines() if re.match(rf"{name}(?:{{|\s)", line)]
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(line.split()[-1]) for line in lines if all(text in line for text in wanted))


def test_metrics_count_what_both_workers_did(deployment: Deployment) -> None:
    live = {"route": "/health/live", "status": "200"}
    before = deployment.ask("GET", "/metrics", port=deployment.port).text

    async def ask(number: int) -> str:
        async with deployment.client(address(number)) as client:
            return (await client.get("/health/live")).headers["x-seen-worker"]

    async def ask_all() -> list[str]:
        return await asyncio.gather(*(ask(number) for number in range(100)))

    asked = asyncio.run(ask_all())
    assert len(set(asked)) == 2, "one of the workers did all"

    def counted() -> float:
        now = deployment.ask("GET", "/metrics", port=deployment.port).text
        return sum(
            sign * total(text, "http_requests_total", **live)
            for sign, text in ((1, now), (-1, before))
        )

    wait_until(lambda: counted() >= len(asked))  # a worker counts when it has answered
    assert counted() == len(asked)
    after = deployment.ask("GET", "/metrics", port=deployment.port).text
    assert total(after, "database_pool_size") == 2 * POOL
    assert total(after, "database_pool_in_use") == 0


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/x/../metrics", "/health/ready"]
)
def test_nginx_does_not_pass_on_what_is_for_the_inside(deployment: Deployment, path: str) -> None:
    # By hand, because clients tidy paths up.
    with socket.create_connection(("127.0.0.1", deployment.nginx_port)) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ") and b"application/problem+json" in head, head
    assert json.loads(body)["status"] == 403
    assert deployment.ask("GET", "/health/ready", port=deployment.port).status_code == 200


def test_what_is_too_large_is_refused_by_nginx(deployment: Deployment) -> None:
    limit = 1_048_576  # MAX_BODY_BYTES
    problem(deployment.ask("POST", "/notes", content=b"x" * (limit + 1)), 413)
    within = deployment.ask("POST", "/notes", content=b"x" * limit)
    assert within.status_code == 422, "one byte less does not reach the service"
    problem(deployment.ask("GET", f"/{'x' * 20_000}"), 414)
    problem(deployment.ask("GET", "/notes", headers={"X-Long": "x" * 20_000}), 400)


def test_the_service_itself_bounds_a_request_line(deployment: Deployment) -> None:
    for start in (
        b"GET /",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX: ",
    ):
        with socket.create_connection(("127.0.0.1", deployment.port), timeout=10) as client:
            client.sendall(start)
            with pytest.raises(ConnectionError):
                for _ in range(1000):
                    client.sendall(b"x" * 4096)
                    time.sleep(0.001)


@dataclass
class Load:
    """What clients saw who never stop asking."""

    created: int = 0
    workers: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    async def ask(self, client: AsyncClient, expected: int, *request: str, **options: Any) -> str:
        try:
            answer = await client.request(*request, **options)
        except HTTPError as error:
            self.failures.append(f"{request} {error!r}")
            return ""
        self.created += answer.status_code == 201
        self.workers.add(answer.headers.get("x-seen-worker", ""))
        if answer.status_code != expected:
            self.failures.append(f"{request} {answer.status_code} {answer.text[:200]}")
        return str(answer.headers.get("location", ""))

    async def user(self, deployment: Deployment, number: int, over: Callable[[], bool]) -> None:
        async with deployment.client(address(number)) as client:
            while not over():
                path = await self.ask(client, 201, "POST", "/notes", json={"title": "load"})
                await self.ask(client, 200, "GET", "/notes?limit=3")
                if path:
                    await self.ask(client, 200, "PATCH", path, json={"body": "x" * 2000})

    async def run(self, deployment: Deployment, users: int, during: Callable[[], None]) -> None:
        """Keep asking until `during`, which runs beside it, is through."""
        beside = asyncio.create_task(asyncio.to_thread(during))
        async with asyncio.TaskGroup() as group:
            for number in range(users):
                group.create_task(self.user(deployment, number, beside.done))
        await beside


def test_a_reload_and_an_ended_worker_lose_nothing(deployment: Deployment) -> None:
    master = deployment.master
    assert master is not None
    old = children(master)
    before = deployment.query("SELECT count(*) FROM notes")

    load = Load()

    def all_work() -> bool:
        return {str(pid) for pid in children(master)} <= load.workers

    def disturb() -> None:
        wait_until(all_work)
        ready = deployment.workers_started()
        master.send_signal(signal.SIGHUP)
        deployment.wait_for_workers(master, ready + 2)
        wait_until(lambda: not old & children(master))
        wait_until(all_work)
        for worker in sorted(children(master)):
            ready = deployment.workers_started()
            os.kill(worker, signal.SIGTERM)
            deployment.wait_for_workers(master, ready + 1)
            wait_until(all_work)

    asyncio.run(load.run(deployment, 40, disturb))
    assert load.failures == []
    assert len(load.workers) == 6, "the old two, the reloaded two, and one for each ended"
    # Neither lost nor done twice.
    assert deployment.query("SELECT count(*) FROM notes") == before + load.created
    # One that is killed cannot clean up after itself.
    ready = deployment.workers_started()
    os.kill(min(children(master)), signal.SIGKILL)
    deployment.wait_for_workers(master, ready + 1)
    metrics = deployment.ask("GET", "/metrics", port=deployment.port).text
    assert total(metrics, "http_requests_total", method="POST", status="201") >= load.created
    assert total(metrics, "database_pool_size") == 2 * POOL, "the gauges of the dead are counted"


def test_an_ending_service_finishes_what_it_has(deployment: Deployment) -> None:
    """On PostgreSQL itself, which tells what connections are left."""
    assert deployment.master is not None
    stop(deployment.master)
    # Those of PgBouncer are older.
    younger = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'notes' AND backend_start > '{}'"
    )
    connections = younger.format(deployment.query("SELECT now()::text"))
    master = deployment.start_gunicorn(**direct(deployment) | {"GRACEFUL_TIMEOUT": "10"})
    made = deployment.ask("POST", "/notes", json={"title": "wait 4"}).headers["location"]

    async def ask() -> tuple[list[Response], Response, float, int]:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(deployment.client(address(number)))
                for number in range(21)
            ]
            notes = [
                (await client.post("/notes", json={"title": "wait 4"})).headers["location"]
                for client in clients[1:]
            ]
            under_way = [
                asyncio.create_task(client.post(f"{note}/synchronize"))
                for client, note in zip(clients[1:], notes, strict=True)
            ]
            await asyncio.sleep(2)
            used = await asyncio.to_thread(deployment.query, connections)
            ended = time.monotonic()
            master.terminate()
            await asyncio.to_thread(wait_until, lambda: not Path(deployment.socket).exists())
            refused = await clients[0].get(made)
            finished = await asyncio.gather(*under_way)
            await asyncio.to_thread(master.wait, 15)
            return finished, refused, time.monotonic() - ended, used

    finished, refused, seconds, used = asyncio.run(ask())
    assert [answer.status_code for answer in finished] == [200] * 20
    problem(refused, 502)
    assert master.returncode == 0
    assert seconds < 10
    assert used > 0
    assert deployment.query(connections) == 0
    assert not Path(deployment.socket).exists()
    for method, tries in (("GET", 2), ("POST", 1), ("PATCH", 1), ("DELETE", 1)):
        headers = {"X-Request-ID": f"tries-{method}"}
        problem(deployment.ask(method, "/notes/1", headers=headers), 502)
        (line,) = [
            line
            for line in deployment.log("access.log").splitlines()
            if headers["X-Request-ID"] in line
        ]
        logged = json.loads(line)
        assert (logged["method"], logged["path"]) == (method, "/notes/1")
        assert logged["service_seconds"].count(",") + 1 == tries, line
    assert list((deployment.folder / "tmp").glob("metrics-*")) == []


def stop(master: subprocess.Popen[bytes]) -> None:
    master.terminate()
    assert master.wait(timeout=40) == 0


# ---- What is the same in every data layer: tried in one ----


@pytest.fixture(scope="module")
def one(workplace: Path, postgres_url: str) -> Iterator[Deployment]:
    with deployed(workplace, postgres_url, **LAYERS[0], packaging="pip") as deployment:
        yield deployment


def attempt(
    deployment: Deployment, *flags: str, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Start gunicorn where it should not start; what it says is in stderr."""
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
        said = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its workers, too
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, *said)


def direct(deployment: Deployment) -> dict[str, str]:
    return {
        "DATABASE_URL": deployment.direct_url,
        "DATABASE_PGBOUNCER": "false",
        "DATABASE_CONNECTION_LIMIT": "",
    }


def refusal(answer: subprocess.CompletedProcess[str]) -> str:
    """Check that gunicorn gave up, before any worker, with one line, and return that."""
    assert answer.returncode == 1, answer.stderr
    assert "Booting worker" not in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    (line,) = [line for line in answer.stderr.splitlines() if not line.startswith("[")]
    return line


def test_too_small_a_budget_refuses_to_start(one: Deployment) -> None:
    # The server's 300, of which 3 are for superusers.
    said = refusal(attempt(one, DATABASE_POOL_SIZE="149", **direct(one)))
    assert "2 workers x DATABASE_POOL_SIZE 149 = 298 connections" in said
    assert "the database has 297" in said
    said = refusal(attempt(one, "--workers", "30", **direct(one)))
    assert "30 workers x DATABASE_POOL_SIZE 10 = 300 connections" in said, "the flag does not count"
    limited = direct(one) | {"DATABASE_CONNECTION_LIMIT": "19"}
    assert "the database has 19" in refusal(attempt(one, **limited))
    assert list((one.folder / "tmp").glob("metrics-*")) == []


def test_a_budget_that_just_fits_starts(one: Deployment) -> None:
    stop(one.start_gunicorn(**direct(one) | {"DATABASE_POOL_SIZE": "148"}))


def test_a_second_start_behind_pgbouncer_asks_as_well(one: Deployment) -> None:
    """A named prepared statement of the first would still be on PgBouncer's connection."""
    for _ in range(2):
        said = refusal(attempt(one, DATABASE_CONNECTION_LIMIT="", DATABASE_POOL_SIZE="200"))
        assert "the database has 297" in said


@pytest.mark.parametrize("timeout", ["statement_timeout", "idle_in_transaction_session_timeout"])
def test_behind_pgbouncer_the_role_has_the_timeouts(one: Deployment, timeout: str) -> None:
    async def ask() -> Any:
        connection = await asyncpg.connect(one.environment["DATABASE_URL"], statement_cache_size=0)
        try:
            return await connection.fetchval(f"SHOW {timeout}")
        finally:
            await connection.close()

    assert asyncio.run(ask()) == "5s"


def test_pgbouncer_tells_of_its_pools(one: Deployment) -> None:
    url, _, _ = one.environment["DATABASE_URL"].rpartition("/")
    asyncio.run(execute(f"{url}/pgbouncer", "SHOW POOLS"))


def test_migrations_take_the_timeouts_of_the_role_off(one: Deployment) -> None:
    timeout = "ALTER ROLE notes IN DATABASE slow SET statement_timeout = 1"  # millisecond
    administrator = one.direct_url.replace("notes@", "postgres@")
    asyncio.run(execute(administrator, "CREATE DATABASE slow OWNER notes", timeout))
    slow = one.direct_url.replace(one.folder.name, "slow")
    migrate(one, DATABASE_URL=slow)
    # Past PgBouncer only: through it they are refused.
    with pytest.raises(subprocess.CalledProcessError) as refused:
        migrate(one, DATABASE_URL=one.environment["DATABASE_URL"])
    assert "unsupported startup parameter: statement_timeout" in refused.value.stderr


@pytest.mark.parametrize("host", ["127.0.0.1:9", "db..example.com"])
def test_without_its_database_it_warns_and_starts(one: Deployment, host: str) -> None:
    nowhere = {"DATABASE_URL": f"postgresql://notes@{host}/notes"}
    before = len(one.log("gunicorn.log"))
    master = one.start_gunicorn(**direct(one) | nowhere)
    assert "Could not ask the database" in one.log("gunicorn.log")[before:]
    assert one.ask("GET", "/health/live").status_code == 200
    assert one.ask("GET", "/health/ready", port=one.port).status_code == 503
    stop(master)


@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE_URL", "mysql://hunter2"), ("DATABASE_POOL_SIZE", "many"), ("UPSTREAM_URL", "")],
)
def test_a_wrong_setting_is_one_line_and_the_end(one: Deployment, name: str, value: str) -> None:
    answer = attempt(one, **{name: value})
    assert refusal(answer).startswith(f"Not started: {name}")
    assert "hunter2" not in answer.stdout + answer.stderr


def test_the_configuration_can_be_checked(one: Deployment) -> None:
    nowhere = {"DATABASE_URL": f"postgresql://notes@127.0.0.1:{free_port()}/notes"}
    checked = attempt(one, "--check-config", **direct(one) | nowhere)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert list((one.folder / "tmp").iterdir()) == []


def test_a_folder_for_metrics_that_was_given_is_emptied_and_stays(one: Deployment) -> None:
    given = one.folder / "given"
    given.mkdir()
    (given / "counter_1.db").write_bytes(b"of another run")
    master = one.start_gunicorn(PROMETHEUS_MULTIPROC_DIR=str(given))
    assert not (given / "counter_1.db").exists()
    assert one.ask("GET", "/metrics", port=one.port).status_code == 200
    stop(master)
    assert list(given.glob("counter_*.db"))


def test_who_is_listed_is_believed_past_nginx(one: Deployment) -> None:
    master = one.start_gunicorn(FORWARDED_ALLOW_IPS="127.5.0.1")
    assert seen_past_nginx(one, "127.5.0.1") == ("6.6.6.6", "https")
    assert seen_past_nginx(one, "127.5.0.2") == ("127.5.0.2", "http")
    stop(master)


def test_nginx_serves_tls_with_its_block_filled_in(one: Deployment) -> None:
    text = (one.project / "deploy/nginx.conf").read_text()
    block = re.search(r"( +listen .*\n)+\n +# For TLS .*\n((?: +# .*\n)+)", text)
    redirecting = re.search(r"\n    # server \{\n(?:    # .*\n)+", text)
    assert block and redirecting
    authority, port, folder = trustme.CA(), free_port(), one.folder / "tls"
    certificate = authority.issue_cert("127.0.0.1")
    folder.mkdir()
    certificate.private_key_pem.write_to_path(folder / "privkey.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(folder / "fullchain.pem", append=True)
    changes = {
        block[0]: block[2].replace("# ", ""),
        redirecting[0]: redirecting[0].replace("# ", ""),
        "/etc/nginx/tls": str(folder),
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "listen [::]:443 ssl;": f"listen [::]:{port} ssl;" if IPV6 else "",
    }
    plain = one.start_nginx("tls", changes)
    master = one.start_gunicorn()

    async def ask() -> tuple[Response, Response]:
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with AsyncClient(verify=trusting) as client:
            away = await client.get(f"http://127.0.0.1:{plain}/notes?limit=1")
            return away, await client.get(f"https://127.0.0.1:{port}/notes?limit=1")

    away, there = asyncio.run(ask())
    assert away.status_code == 308
    assert away.headers["location"] == "https://127.0.0.1/notes?limit=1"
    assert there.status_code == 200
    assert there.headers["x-seen-scheme"] == "https"
    assert there.headers["strict-transport-security"] == "max-age=63072000"
    assert there.headers["x-content-type-options"] == "nosniff"
    stop(master)


def test_a_worker_that_ends_is_left_the_time_to_finish(one: Deployment) -> None:
    """gunicorn kills one that it has not heard of for `timeout`, and uvicorn's falls silent."""
    master = one.start_gunicorn("--timeout", "5", GRACEFUL_TIMEOUT="20")
    path = one.ask("POST", "/notes", json={"title": "wait 8"}).headers["location"]

    async def ask() -> Response:
        async with one.client() as client:
            answer = asyncio.create_task(client.post(f"{path}/synchronize"))
            await asyncio.sleep(0.5)
            for worker in children(master):
                os.kill(worker, signal.SIGTERM)
            return await answer

    assert asyncio.run(ask()).status_code == 200
    assert "WORKER TIMEOUT" not in one.log("gunicorn.log")
    stop(master)


def test_a_request_that_takes_too_long_to_finish_is_cut_in_order(one: Deployment) -> None:
    before = one.log("gunicorn.log").count("Application shutdown complete")
    master = one.start_gunicorn(**direct(one) | {"GRACEFUL_TIMEOUT": "5"})
    path = one.ask("POST", "/notes", json={"title": "wait 9"}).headers["location"]

    async def ask() -> Response:
        async with one.client() as client:
            answer = asyncio.create_task(client.post(f"{path}/synchronize"))
            await asyncio.sleep(0.5)
            master.terminate()
            return await answer

    started = time.monotonic()
    assert asyncio.run(ask()).status_code >= 500
    assert master.wait(timeout=10) == 0
    assert time.monotonic() - started < 8
    ended = one.log("gunicorn.log").count("Application shutdown complete") - before
    assert ended == 2, "killed with its connections open"


def test_a_reload_with_a_wrong_setting_is_the_end_in_order(one: Deployment) -> None:
    master = one.start_gunicorn()
    workers = children(master)
    wrong = one.project / ".env"  # where alone a setting can change under a running process
    wrong.write_text("DATABASE_POOL_SIZE=many\n")
    try:
        master.send_signal(signal.SIGHUP)
        assert master.wait(timeout=15) == 1
    finally:
        wrong.unlink()
    assert "Not reloaded: DATABASE_POOL_SIZE" in one.log("gunicorn.log")
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers), "workers without a master"


def test_a_reload_over_the_budget_is_told_and_goes_on(one: Deployment) -> None:
    master = one.start_gunicorn(**direct(one))
    larger = one.project / ".env"
    larger.write_text("DATABASE_POOL_SIZE=149\n")
    try:
        ready = one.workers_started()
        master.send_signal(signal.SIGHUP)
        one.wait_for_workers(master, ready + 2)
    finally:
        larger.unlink()
    assert "Reloaded, but 2 workers x DATABASE_POOL_SIZE 149" in one.log("gunicorn.log")
    assert one.ask("GET", "/health/ready", port=one.port).status_code == 200
    stop(master)


def test_a_reload_takes_new_code_in(one: Deployment) -> None:
    """Of the settings, too, which gunicorn's master has read itself."""
    master = one.start_gunicorn()
    assert one.ask("POST", "/notes", json={"title": "long enough"}).status_code == 201
    settings = one.project / "src/notes_service/settings.py"
    settings.write_text(substitute(settings.read_text(), {"= 1_048_576": "= 10"}))
    ready, old = one.workers_started(), children(master)
    master.send_signal(signal.SIGHUP)
    one.wait_for_workers(master, ready + 2)
    wait_until(lambda: not old & children(master))
    assert one.ask("POST", "/notes", json={"title": "long enough"}).status_code == 413
    stop(master)


# ---- What is not run, but read by its tool: what differs in it, in every form ----


@pytest.fixture(scope="module", params=CHOICES["packaging"])
def packaged(request: pytest.FixtureRequest, workplace: Path) -> Path:
    return render(workplace / request.param, packaging=request.param)


def clean(*command: str | Path) -> str:
    """Run a tool that should find no fault, and return what it says."""
    path = f"{Path(PYTHON).parent}:{os.environ['PATH']}"
    command = (shutil.which(command[0], path=path) or command[0], *command[1:])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_dockerfile_is_clean(packaged: Path) -> None:
    clean("hadolint", packaged / "deploy/Dockerfile")


def test_the_dockerfile_installs_only_what_a_lock_says(packaged: Path) -> None:
    """Nothing is copied with a wildcard, so a lock that is missing is an error, not an omission."""
    text = (packaged / "deploy/Dockerfile").read_text()
    build, _, last = text.partition("\nFROM ")[2].partition("\nFROM ")
    lock = (
        (ROOT / "templates/packaging" / packaged.parent.name / "dockerignore").read_text().strip()
    )
    assert f"COPY pyproject.toml {lock} ./" in build
    assert f"!{lock}\n" in (packaged / ".dockerignore").read_text()
    for word in ("install", "sync"):
        assert f" {word} " not in last.replace("install --directory", "")


def test_compose_is_valid_and_holds_no_secret(packaged: Path) -> None:
    compose = packaged / "deploy/compose.yaml"
    clean("check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose)
    # Without what comes from the environment, every password is empty.
    text = re.sub(r"\$\{\w+:\?\}", "", compose.read_text())
    assert text.count("postgresql://notes:@") == text.count("postgresql://") == 2
    assert "LOGIN PASSWORD ''" in text
    assert '"notes" ""' in text


def test_what_compose_names_is_there(packaged: Path) -> None:
    compose = yaml.safe_load((packaged / "deploy/compose.yaml").read_text())
    services, configs = compose["services"], compose["configs"]
    for service in services.values():
        assert set(service.get("secrets", [])) <= compose["secrets"].keys()
        volumes = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        assert volumes <= compose["volumes"].keys()
        # The service has its health check from the Dockerfile.
        for needed, state in service.get("depends_on", {}).items():
            checked = needed == "service" or "healthcheck" in services[needed]
            assert checked or state["condition"] == "service_completed_successfully"
        for config in service.get("configs", []):
            written = "content" in configs[config["source"]]
            # Compose copies what is written in its file into the container, when that has started.
            assert not (written and service.get("read_only")), config
    built = [service["image"] for service in services.values() if "build" in service]
    assert len(set(built)) == len(built), "one image is built twice at once"
    for config in configs.values():
        assert "content" in config or (packaged / "deploy" / config["file"]).is_file()


def test_compose_has_room_for_what_is_configured_elsewhere(packaged: Path) -> None:
    services = yaml.safe_load((packaged / "deploy/compose.yaml").read_text())["services"]
    pgbouncer = ConfigParser()
    pgbouncer.read(packaged / "deploy/pgbouncer.ini")
    limits = ("max_client_conn", "max_db_connections")
    connections = sum(pgbouncer.getint("pgbouncer", limit) for limit in limits)
    assert services["pgbouncer"]["ulimits"]["nofile"] > connections
    graceful = int(services["service"]["environment"]["GRACEFUL_TIMEOUT"])
    for name in ("service", "nginx"):
        assert services[name]["stop_grace_period"] == f"{2 * graceful + 5}s"


def test_the_units_are_valid(packaged: Path, workplace: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    folder = workplace / f"{packaged.parent.name}-units"
    folder.mkdir()
    for name in ("gunicorn", "alembic"):  # where they would be installed
        (folder / name).symlink_to("/bin/true")
    units = []
    for unit in (packaged / "deploy/systemd").iterdir():
        changed = substitute(unit.read_text(), {"/opt/notes-service/.venv/bin": str(folder)})
        units.append(folder / unit.name)
        units[-1].write_text(changed)
    # An unknown key is told, and no failure.
    assert clean(analyze, "verify", "--man=no", *units) == ""
    assert len(units) == 2
    clean(analyze, "security", "--offline=true", "--threshold=20", *units)


def test_nobody_but_nginx_may_open_the_socket(packaged: Path) -> None:
    unit = (packaged / "deploy/systemd/notes-service.service").read_text()
    user = re.search(r"^user (\S+);", (packaged / "deploy/nginx.conf").read_text(), re.MULTILINE)
    assert user and f"\nGroup={user[1]}\n" in unit
    assert "\nRuntimeDirectoryMode=0750\n" in unit


def test_scripts_are_clean() -> None:
    clean("shellcheck", ROOT / ".ci/run")
