"""Two replicas of the service, as on two machines, behind one nginx and one PgBouncer."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.live.deployment import (
    SERVER_CONNECTIONS,
    Deployment,
    address,
    program,
    running,
    stop,
    substitute,
)
from tests.live.test_load import Load
from tests.support.network import free_port
from tests.support.postgres import programs
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("replicas")]

WORKERS = 2  # of each replica
POOL_SIZE = 3
BUDGET = 2 * WORKERS * POOL_SIZE  # connections of both replicas
ADMINISTRATORS = 2  # connections to PgBouncer itself, which count, too


@dataclass
class Replicas:
    machines: list[Deployment]
    entrance: Deployment  # nginx and PgBouncer
    configuration: Path  # of nginx
    started: str  # when PgBouncer was started

    def nginx(self) -> int:
        return int((self.entrance.folder / "replicas.pid").read_text())

    def mark(self, machine: Deployment, *, down: bool) -> None:
        """Take a machine out of nginx or put it back, and wait for the end of nginx's old workers."""
        server = f"server 127.0.0.1:{machine.port} max_fails=0"
        old, new = (f"{server};", f"{server} down;") if down else (f"{server} down;", f"{server};")
        text = self.configuration.read_text()
        assert text.count(old) == 2
        self.configuration.write_text(text.replace(old, new))
        workers = children(self.nginx())
        command = [program("nginx"), "-p", self.entrance.folder, "-c", self.configuration]
        subprocess.run([*command, "-s", "reload"], check=True)
        wait_until(lambda: not workers & children(self.nginx()), 60)


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@pytest.fixture(scope="module")
def replicas(default_deployment: Deployment) -> Iterator[Replicas]:
    """Both replicas run, with settings that docs/deployment.md computes."""
    with ExitStack() as stack:
        entrance = replace(default_deployment, stack=stack)
        started = entrance.query("SELECT now()::text")
        entrance.environment = entrance.environment | entrance.start_pgbouncer(
            "replicas-pgbouncer",
            max_client_conn=2 * BUDGET + ADMINISTRATORS,
            max_db_connections=SERVER_CONNECTIONS,
        )
        entrance.environment |= {
            "DATABASE_POOL_SIZE": str(POOL_SIZE),
            # Half of max_client_conn, divided by the number of machines.
            "DATABASE_CONNECTION_LIMIT": str(2 * BUDGET // 2 // 2),
            "FORWARDED_ALLOW_IPS": "127.0.0.1",
        }
        machines = []
        for name in ("one", "two"):
            folder = entrance.folder / name
            (folder / "tmp").mkdir(parents=True)
            machines.append(replace(entrance, folder=folder, port=free_port()))
        docs = (entrance.project / "docs/deployment.md").read_text()
        _, groups = re.findall(r"^```nginx\n(.*?)^```$", docs, re.MULTILINE | re.DOTALL)
        addresses = {
            f"10.0.0.{number}:8000": f"127.0.0.1:{machine.port}"
            for number, machine in enumerate(machines, 1)
        }
        nginx = (entrance.project / "deploy/nginx.conf").read_text()
        first, second = re.findall(r"^ +upstream \w+ \{.*?^ +\}\n", nginx, re.M | re.S)
        changes = {first: substitute(groups, addresses), second: ""}
        entrance.nginx_port = entrance.start_nginx("replicas", changes)
        for machine in machines:
            machine.master = machine.start_gunicorn()
        yield Replicas(machines, entrance, entrance.folder / "replicas.conf", started)


def watch(url: str, statement: str, log: Path, stack: ExitStack) -> None:
    """Run a statement five times a second, and write its rows to `log`."""
    script = log.with_suffix(".sql")
    script.write_text(f"{statement} \\watch i=0.2\n")
    options = ["--no-psqlrc", "--no-align", "--tuples-only", "--file", script]
    stack.enter_context(running([programs() / "psql", url, *options], log))


def test_replica_is_replaced_under_load_without_an_error(replicas: Replicas) -> None:
    entrance = replicas.entrance
    notes = entrance.query("SELECT count(*) FROM notes")
    changed = entrance.query("SELECT count(*) FROM notes WHERE version = 2")
    database = entrance.folder.name
    machine = replicas.machines[0]
    # A reload of nginx closes connections without a request, on which one may just be on its way.
    load = Load(keep_alive=False)

    def workers() -> set[str]:
        return {
            str(pid)
            for each in replicas.machines
            if each.master
            for pid in children(each.master.pid)
        }

    def replace_one() -> None:
        old = workers()
        wait_until(lambda: old <= load.workers, 60)
        replicas.mark(machine, down=True)
        assert machine.master is not None
        stop(machine.master)
        machine.master = machine.start_gunicorn()
        assert machine.ask("GET", "/health/ready", port=machine.port).status_code == 200
        replicas.mark(machine, down=False)
        wait_until(lambda: workers() <= load.workers, 60)
        assert len(workers() - old) == WORKERS

    clients, servers = entrance.folder / "clients.log", entrance.folder / "servers.log"
    pgbouncer, _, _ = entrance.environment["DATABASE_URL"].rpartition("/")
    # The connections of the other PgBouncer are older.
    used = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'service' AND backend_start > '{}'"
    )
    used = used.format(replicas.started)
    with ExitStack() as stack:
        watch(f"{pgbouncer}/pgbouncer", "SHOW POOLS", clients, stack)
        administrator = entrance.direct_url.replace("service@", "postgres@")
        watch(administrator, used, servers, stack)
        asyncio.run(load.run(entrance, 40, replace_one))

    assert load.failures == []
    # Neither lost nor done twice.
    assert entrance.query("SELECT count(*) FROM notes") == notes + load.created
    in_second_version = entrance.query("SELECT count(*) FROM notes WHERE version = 2")
    assert in_second_version == changed + load.changed
    # The columns are database, user, cl_active and cl_waiting.
    counts = re.findall(rf"^{database}\|service\|(\d+)\|(\d+)\|", clients.read_text(), re.M)
    assert len(counts) > 10
    peak = max(int(active) + int(waiting) for active, waiting in counts)
    assert BUDGET // 2 < peak <= BUDGET
    assert max(map(int, servers.read_text().split())) == SERVER_CONNECTIONS


def test_machine_that_refuses_connections_is_passed_over(replicas: Replicas) -> None:
    ask = replicas.entrance.ask
    assert ask("GET", "/health/live", "127.3.0.1").headers["x-seen-client"] == "127.3.0.1"
    for machine in replicas.machines:
        assert machine.master is not None
        stop(machine.master)
        for number in range(5):  # nginx begins with each machine in turn
            client = address(number)
            created = ask("POST", "/notes", client, json={"title": "first"})
            assert created.status_code == 201
            path = created.headers["location"]
            assert ask("PATCH", path, client, json={"title": "second"}).status_code == 200
            assert ask("GET", path, client).json()["title"] == "second"
            assert ask("DELETE", path, client).status_code == 204
        machine.master = machine.start_gunicorn()
