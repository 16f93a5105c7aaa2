"""The requests that are measured, and how wrk sends them."""

import json
import math
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Server

SCRIPT = Path(__file__).with_name("wrk.lua")
NOTES = 1000

Figures = dict[str, float]


@dataclass(frozen=True)
class Workload:
    name: str
    path: str
    method: str = "GET"
    body: str = ""
    upstream_seconds: float = 0
    users: int = 8  # fewer than the pool has connections, so that nobody waits for one
    rounds: int = 2
    seconds: float = 1  # of each round


# Workloads that have bounds are measured in more rounds, and shorter ones: the load of the machine
# changes within seconds, and every program should get the same share of it.
READ_ONE = Workload("read one", "/notes/1", rounds=7, seconds=0.5)
WORKLOADS = [
    READ_ONE,
    Workload("list 10", "/notes?limit=10", rounds=7, seconds=0.5),
    Workload("create one", "/notes", "POST", json.dumps({"title": "New", "body": "By wrk"})),
    Workload("change one", "/notes/ID", "PATCH", json.dumps({"body": "By wrk"}), rounds=4),
    Workload("synchronize, 0 ms", "/notes/ID/synchronize", "POST"),
    Workload(
        "synchronize, 50 ms", "/notes/ID/synchronize", "POST", upstream_seconds=0.05, users=20
    ),
]


def wrk() -> str:
    if path := shutil.which("wrk"):
        return path
    raise SystemExit("wrk is missing. Try `apt-get install wrk` or `brew install wrk`.")


def run(command: list[str], seconds: float) -> str:
    """Return what wrk prints. It takes whole seconds only, but an interrupt ends it in order."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if not float(seconds).is_integer():
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"wrk failed: {output}")
    return output


def load(server: Server, workload: Workload, seconds: float) -> Figures:
    """Put load on a server; return its CPU per request, requests per second and latencies.

    The CPU is in microseconds, the latencies in milliseconds. Raises SystemExit when a request fails.
    """
    command = [wrk(), "-t1", f"-c{workload.users}", f"-d{math.ceil(seconds)}s", "--timeout", "30s"]
    command += ["-s", str(SCRIPT), server.url, "--"]
    command += [workload.method, workload.path, workload.body, str(NOTES)]
    before = server.cpu()
    output = run(command, seconds)
    cpu = server.cpu() - before
    # The last requests, whose answers wrk did not wait for, may still change notes.
    time.sleep(0.05 + 2 * workload.upstream_seconds)
    report = json.loads(output.splitlines()[-1])
    if report["failed"] or report["lost"] or not report["requests"]:
        raise SystemExit(f"{workload.name} at {server.url}: {report}")
    return {
        "cpu": cpu / report["requests"] * 1e6,
        "rate": report["requests"] / report["seconds"],
        "p50": report["p50"],
        "p99": report["p99"],
    }
