"""deploy/observability/, run with a real Prometheus: rules, dashboard, and the service under load."""

import asyncio
import json
import math
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from httpx2 import AsyncClient

from tests.choices import PROGRAMS
from tests.live.deployment import (
    Deployment,
    deployed,
    program,
    running,
    substitute,
    without_pgbouncer,
)
from tests.support.network import free_port, get
from tests.support.postgres import programs
from tests.support.rendering import render_into
from tests.support.waiting import wait_until

# In one group, so that one worker runs all tests on one deployment.
pytestmark = [pytest.mark.live, pytest.mark.xdist_group("observability")]

Samples = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(workplace: Path) -> Path:
    """deploy/observability of a project."""
    return render_into(workplace / "observability", **PROGRAMS[0]) / "deploy/observability"


def rules(folder: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "grafana/service.json").read_text())
    return content


def promtool(*arguments: str | Path) -> None:
    command = [program("promtool", "prometheus"), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def test_promtool_accepts_the_configuration(folder: Path) -> None:
    promtool("check", "config", folder / "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", folder / "alerts.yml")


# Values come every 15 seconds, as in promtool's notation: "1x4" is 1, five times; "0+9x4" grows by 9.
OK = 'http_requests_total{job="service", route="/a", status="200"}'
FAILED = 'http_requests_total{job="service", route="/a", status="500"}'
PROBE_FAILED = 'http_requests_total{job="service", route="/health/ready", status="503"}'
REFUSED = 'database_unavailable_total{job="service", reason="PoolExhausted"}'
SECONDS = 'http_request_duration_seconds_bucket{job="service", method="GET", '
FAST, ALL = (f'{SECONDS}route="/a", le="{limit}"}}' for limit in ("1.0", "+Inf"))
WITHIN_2 = f'{SECONDS}route="/a", le="2.5"}}'
SLOW_PROBE = f'{SECONDS}route="/health/live", le="+Inf"}}'
BACKENDS = 'pg_stat_database_numbackends{instance="pg", datname="%s"}'
LIMIT = 'pg_settings_max_connections{instance="pg"}'
TRANSACTION = (
    'pg_stat_activity_max_tx_duration{instance="pg", datname="a", state="%s", usename="u"}'
)


@dataclass
class Case:
    """Series that fire an alert with these labels, after so many minutes, and others that do not."""

    fire: dict[str, str]
    labels: dict[str, str]
    after: int
    quiet: list[dict[str, str]]


CASES = {
    "TargetDown": Case(
        {'up{job="postgres", instance="pg"}': "1x3 0x80"},
        {"job": "postgres", "instance": "pg"},
        2,
        [{'up{job="postgres", instance="pg"}': "1x3 0x3 1x80"}],
    ),
    "TooManyErrors": Case(
        {OK: "0+90x80", FAILED: "0+10x80"},
        {"job": "service"},
        6,
        [
            {OK: "0+96x80", FAILED: "0+4x80"},
            {OK: "0+9x80", FAILED: "0x20 1x60"},  # a single error
            {OK: "0+9x80", FAILED: "0x80", PROBE_FAILED: "0+99x80"},
        ],
    ),
    "RequestsRefused": Case(
        {REFUSED: "0+1x80"},
        {"job": "service", "reason": "PoolExhausted"},
        4,
        [{REFUSED: "0x20 9x60"}],
    ),
    "PoolFull": Case(
        {'database_pool_waiting{job="service", instance="a"}': "0x3 7x80"},
        {"job": "service", "instance": "a"},
        3,
        [{'database_pool_waiting{job="service", instance="a"}': "7x5 0 7x5 0 7x5 0x60"}],
    ),
    "SlowRoute": Case(
        {FAST: "0+90x80", WITHIN_2: "0+100x80", ALL: "0+100x80"},
        {"job": "service", "method": "GET", "route": "/a"},
        11,
        [{FAST: "0+96x80", ALL: "0+100x80"}, {SLOW_PROBE: "0+100x80"}],
    ),
    "PostgresDown": Case(
        {'pg_up{job="postgres", instance="pg"}': "1x3 0x80"},
        {"job": "postgres", "instance": "pg"},
        2,
        [{'pg_up{job="postgres", instance="pg"}': "1x3 0x3 1x80"}],
    ),
    "PostgresConnections": Case(
        {BACKENDS % "a": "80x80", BACKENDS % "b": "9x80", LIMIT: "100x80"},
        {"instance": "pg"},
        5,
        [
            {BACKENDS % "a": "80x80", LIMIT: "100x80"},
            {BACKENDS % "a": "99x10 9x70", LIMIT: "100x80"},
        ],
    ),
    "IdleTransaction": Case(
        {TRANSACTION % "idle in transaction (aborted)": "0+15x80"},
        {"instance": "pg", "datname": "a"},
        2,
        [{TRANSACTION % "active": "0+15x80"}, {TRANSACTION % "idle in transaction": "60x80"}],
    ),
}
MINUTES = 20


def test_each_alert_fires_and_does_not_fire(folder: Path, tmp_path: Path) -> None:
    by_name = {rule["alert"]: rule for rule in rules(folder)}
    assert by_name.keys() == CASES.keys()
    tests = []
    for name, case in CASES.items():
        rule = by_name[name]
        alert = {
            "exp_labels": case.labels | rule["labels"],
            "exp_annotations": rule["annotations"],
        }
        for series, first in [(case.fire, case.after), *((quiet, None) for quiet in case.quiet)]:
            tests.append(
                {
                    "interval": "15s",
                    "input_series": [
                        {"series": selector, "values": values}
                        for selector, values in series.items()
                    ],
                    "alert_rule_test": [
                        {
                            "alertname": name,
                            "eval_time": f"{minute}m",
                            "exp_alerts": [alert] if first is not None and minute >= first else [],
                        }
                        for minute in range(MINUTES)
                    ],
                }
            )
    file = tmp_path / "tests.yml"
    content = {
        "rule_files": [str(folder / "alerts.yml")],
        "evaluation_interval": "15s",
        "tests": tests,
    }
    file.write_text(json.dumps(content))
    promtool("test", "rules", file)


def test_each_alert_has_its_runbook(folder: Path) -> None:
    """It is the section of this name, and no section is left over."""
    page = (folder.parent.parent / "docs/operations.md").read_text()
    [section] = re.findall("^## Dashboards and alerts\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    headings = re.findall("^### (.*)", section, re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules(folder)]
    for rule in rules(folder):
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_dashboard_has_only_what_grafana_knows(folder: Path) -> None:
    """A field with a wrong name is lost when Grafana's own types read the file."""
    plugins.register_default_plugins()
    content = dashboard(folder)
    for variable in content["templating"]["list"]:
        del variable["definition"]  # Grafana shows it in the list of variables. The types lack it.
    read = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(content)))

    def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
        if isinstance(before, dict):
            for key, value in before.items():
                yield from lost(value, after.get(key) if after else None, f"{path}/{key}")
        elif isinstance(before, list):
            for number, value in enumerate(before):
                yield from lost(value, after[number] if after else None, f"{path}/{number}")
        elif before != after:
            yield path

    assert list(lost(content, read)) == []


def test_share_of_errors_counts_the_same_routes_as_its_alert(folder: Path) -> None:
    [panel] = [one for one in dashboard(folder)["panels"] if one["title"] == "Share of errors"]
    [rule] = [one for one in rules(folder) if one["alert"] == "TooManyErrors"]
    shown, alerted = (
        re.findall(r'route!~"[^"]*"', query)
        for query in (panel["targets"][0]["expr"], rule["expr"])
    )
    assert len(shown) == 2 and shown == alerted


def test_dashboard_fits_its_data_source_and_its_page(folder: Path) -> None:
    [source] = yaml.safe_load((folder / "grafana/datasources.yaml").read_text())["datasources"]
    prometheus = yaml.safe_load((folder / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    content = dashboard(folder)
    reference = {"type": source["type"], "uid": source["uid"]}
    variables = content["templating"]["list"]
    panels = content["panels"]
    charts = [panel for panel in panels if panel["type"] != "row"]
    assert all(item["datasource"] == reference for item in [*charts, *variables])
    for panel in charts:
        names = {
            name for query in panel["targets"] for name in re.findall(r"\$(\w+)", query["expr"])
        }
        assert names <= {variable["name"] for variable in variables} | {"__rate_interval"}
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)

    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        x, y, width, height = (panel["gridPos"][key] for key in "xywh")
        assert x + width <= 24
        return {(x + column, y + row) for column in range(width) for row in range(height)}

    assert not any(cells(one) & cells(other) for one, other in combinations(panels, 2))


def test_configurations_name_the_services_and_files_of_compose(folder: Path) -> None:
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    targets = {
        config["source"]: config["target"]
        for service in compose["services"].values()
        for config in service.get("configs", [])
    }
    # Where Prometheus and Grafana look by default.
    assert targets["prometheus.yml"] == "/etc/prometheus/prometheus.yml"
    assert targets["alerts.yml"] == "/etc/prometheus/alerts.yml"
    provisioning = "/etc/grafana/provisioning"
    assert targets["datasources.yaml"].startswith(f"{provisioning}/datasources/")
    assert targets["dashboards.yaml"].startswith(f"{provisioning}/dashboards/")
    [provider] = yaml.safe_load((folder / "grafana/dashboards.yaml").read_text())["providers"]
    assert Path(targets["service.json"]).parent == Path(provider["options"]["path"])
    grafana = compose["services"]["grafana"]["environment"]
    assert grafana["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == targets["service.json"]

    base = yaml.safe_load((folder.parent / "compose.yaml").read_text())
    services = {**base["services"], **compose["services"]}
    [source] = yaml.safe_load((folder / "grafana/datasources.yaml").read_text())["datasources"]
    prometheus = yaml.safe_load((folder / "prometheus.yml").read_text())
    hosts = {
        urlsplit(f"http://{target}").hostname
        for job in prometheus["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    assert hosts == {"service", "postgres-exporter"}
    assert {urlsplit(source["url"]).hostname, *hosts} <= services.keys()
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


@dataclass
class Observed:
    """A service under load, whose Prometheus is asked."""

    deployment: Deployment
    folder: Path
    url: str  # of Prometheus
    done: threading.Event = field(default_factory=threading.Event)

    def ask(self, query: str) -> Samples:
        answer = get(f"{self.url}/api/v1/query?query={quote(query)}")
        assert answer is not None, f"Prometheus refuses {query}"
        samples: Samples = json.loads(answer)["data"]["result"]
        return samples

    def firing(self) -> set[str]:
        return {one["metric"]["alertname"] for one in self.ask('ALERTS{alertstate="firing"}')}

    async def use(self) -> None:
        """Create, read, change and synchronize notes. Every synchronization takes too long."""
        async with self.deployment.client(port=self.deployment.port) as client:
            while not self.done.is_set():
                path = (await client.post("/notes", json={"title": "wait 5"})).headers["location"]
                await client.get(path)
                await client.get("/notes?limit=3")
                await client.patch(path, json={"title": "first"})
                await client.get("/notes/0")
                await client.get("/health/ready")
                await asyncio.sleep(0.05)

    async def synchronize(self) -> None:
        async with self.deployment.client(port=self.deployment.port) as client:
            path = (await client.post("/notes", json={"title": "wait 5"})).headers["location"]
            while not self.done.is_set():
                answer = await client.post(f"{path}/synchronize")
                assert answer.status_code == 504, answer.text

    @contextmanager
    def under_load(self) -> Iterator[None]:
        async def users() -> None:
            await asyncio.gather(self.use(), self.use(), self.synchronize())

        self.done.clear()
        thread = threading.Thread(target=asyncio.run, args=[users()])
        thread.start()
        try:
            yield
        finally:
            self.done.set()
            thread.join()


def create_monitor_role(compose: dict[str, Any], url: str) -> None:
    """Do what the container `monitor-role` does."""
    command = compose["services"]["monitor-role"]["command"]
    assert "--set=ON_ERROR_STOP=1 --file=/monitor.sql" in command[-1]
    sql = compose["configs"]["monitor.sql"]["content"].replace("${MONITOR_PASSWORD:?}", "secret")
    psql: list[str | Path] = [programs() / "psql", url, "--quiet", "--set=ON_ERROR_STOP=1"]
    subprocess.run(psql, input=sql, text=True, check=True)


@pytest.fixture(scope="module")
def observed(folder: Path, workplace: Path, postgres_url: str) -> Iterator[Observed]:
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    for _ in range(2):  # at the second start the role exists
        create_monitor_role(compose, postgres_url)
    with deployed(workplace, postgres_url, **PROGRAMS[0], packaging="uv") as deployment:
        pool = {"DATABASE_POOL_SIZE": "1", "DATABASE_POOL_TIMEOUT": "2", "UPSTREAM_TIMEOUT": "0.3"}
        deployment.start_gunicorn(**without_pgbouncer(deployment) | pool)

        exporter_port, port = free_port(), free_port()
        environment = compose["services"]["postgres-exporter"]["environment"]
        password = deployment.folder / "monitor_password"
        password.write_text("secret")
        server = urlsplit(deployment.direct_url)
        environment["DATA_SOURCE_URI"] = substitute(
            environment["DATA_SOURCE_URI"],
            {"postgres:5432/service": f"127.0.0.1:{server.port}{server.path}"},
        )
        environment["DATA_SOURCE_PASS_FILE"] = str(password)
        name = "prometheus-postgres-exporter"
        command: list[str | Path] = [
            program(name),
            f"--web.listen-address=127.0.0.1:{exporter_port}",
        ]
        log = deployment.folder / "exporter.log"
        deployment.stack.enter_context(running(command, log, env=environment))

        data = deployment.folder / "prometheus"
        data.mkdir()
        changes = {
            '"service:8000"': f'"127.0.0.1:{deployment.port}"',
            '"postgres-exporter:9187"': f'"127.0.0.1:{exporter_port}"',
            "_interval: 15s": "_interval: 3s",
        }
        configuration = (folder / "prometheus.yml").read_text()
        (data / "prometheus.yml").write_text(substitute(configuration, changes))
        alerts = re.sub(r"for: \d+m", "for: 1s", (folder / "alerts.yml").read_text())
        (data / "alerts.yml").write_text(alerts)
        command = [program("prometheus"), f"--config.file={data}/prometheus.yml"]
        command += [f"--storage.tsdb.path={data}/data", f"--web.listen-address=127.0.0.1:{port}"]
        prometheus = running(command, deployment.folder / "prometheus.log")
        deployment.stack.enter_context(prometheus)
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: get(f"{url}/-/ready"))
        yield Observed(deployment, folder, url)
        shutil.rmtree(data / "data", ignore_errors=True)


def queries(folder: Path) -> list[tuple[str, str]]:
    """Return every query of the dashboard, and those of the alerts without their comparison."""
    content = dashboard(folder)
    variables = {f"${one['name']}": one["allValue"] for one in content["templating"]["list"]}
    listed = []
    for panel in content["panels"]:
        for query in panel.get("targets", []):
            listed.append(
                (
                    f"{panel['title']}: {query['legendFormat']}".removesuffix(": __auto"),
                    query["expr"].replace("$__rate_interval", "1m"),
                )
            )
    for rule in rules(folder):
        value, comparison, _ = re.split("(==|>) *[0-9.]+$", rule["expr"].strip())
        assert comparison
        listed.append((f"Alert {rule['alert']}", " ".join(value.split())))
    for variable, value in variables.items():
        listed = [(title, query.replace(variable, value)) for title, query in listed]
    return listed


def has_data(samples: Samples) -> bool:
    return any(not math.isnan(float(sample["value"][1])) for sample in samples)


def shown(samples: Samples) -> str:
    """Write an answer down: each series with its labels and its value."""
    return "; ".join(
        f"{' '.join(sample['metric'].values())} {float(sample['value'][1]):.4g}".strip()
        for sample in samples
    )


def test_every_query_answers_with_data(observed: Observed) -> None:
    asked = queries(observed.folder)

    def without_data() -> list[str]:
        return [title for title, query in asked if not has_data(observed.ask(query))]

    with observed.under_load():
        with suppress(AssertionError):
            wait_until(lambda: not without_data(), 60)
        assert without_data() == []
        answers = {title: observed.ask(query) for title, query in asked}
    for title, query in asked:
        print(f"| {title} | `{query}` | {shown(answers[title])} |")

    def value(title: str, **labels: str) -> float:
        return sum(
            float(sample["value"][1])
            for sample in answers[title]
            if labels.items() <= sample["metric"].items()
        )

    assert value("Targets down: targets") == 0
    assert value("PostgreSQL answers: PostgreSQL") == 1
    assert value("Requests by route", method="GET", route="/notes/{note_id}") > 0
    assert value("Errors by route", route="/notes/{note_id}/synchronize", status="504") > 0
    assert 0 < value("Share of errors: errors") < 1
    assert len(answers["503s by reason"]) == 7
    assert value("503s by reason") == 0
    assert 0.1 < value("Time to answer by route: median", route="/notes/{note_id}/synchronize") < 10
    assert value("Connections: limit of all pools") == 2
    assert value("Connections by state: max_connections") == 300


def test_full_pool_fires_its_alert(observed: Observed) -> None:
    """Somebody has locked the table, so that each block waits, and everybody else for its end."""
    deployment = observed.deployment
    wait_until(lambda: "PoolFull" not in observed.firing())

    async def read(client: AsyncClient, locked: asyncio.Event) -> None:
        while locked.is_set():
            await client.get("/notes/1")

    async def exhaust() -> None:
        locker = await asyncpg.connect(deployment.direct_url, user="postgres")
        locked = asyncio.Event()
        locked.set()
        refused = 'database_unavailable_total{reason="PoolExhausted"} > 0'
        async with deployment.client(port=deployment.port) as client, asyncio.TaskGroup() as group:
            await locker.execute("BEGIN; LOCK TABLE notes")
            for _ in range(10):
                group.create_task(read(client, locked))
            try:
                await asyncio.to_thread(wait_until, lambda: "PoolFull" in observed.firing(), 60)
                await asyncio.to_thread(wait_until, lambda: observed.ask(refused), 60)
            finally:
                locked.clear()
                await locker.close()

    asyncio.run(exhaust())
    wait_until(lambda: "PoolFull" not in observed.firing())


def test_exporter_may_read_statistics_but_no_table(observed: Observed) -> None:
    async def read() -> int:
        connection = await asyncpg.connect(observed.deployment.direct_url, user="monitor")
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("SELECT * FROM notes")
            return int(await connection.fetchval("SELECT count(*) FROM pg_stat_activity"))
        finally:
            await connection.close()

    assert asyncio.run(read()) > 0
