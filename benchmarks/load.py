"""What is asked of a program, and how: by wrk."""

import json
import math
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import Server

SCRIPT = Path(__file__).with_name("wrk.lua")
NOTES = 1000


@dataclass(frozen=True)
class Work:
    name: str
    path: str
    method: str = "GET"
    body: str = ""
    pause: float = 0  # of the upstream, in seconds
    users: int = 8  # fewer than the pool has connections, so that nobody waits for one
    rounds: int = 3
    seconds: float = 2  # of each round


# What has narrow bounds is asked more often, and not for so long: what else the machine does changes
# within seconds, and is to be shared by all that are compared.
READ = Work("read one", "/notes/1", rounds=20, seconds=0.5)
WORKS = [
    READ,
    Work("list 10", "/notes?limit=10", rounds=20, seconds=0.5),
    Work("list 50", "/notes?limit=50"),
    Work("create", "/notes", "POST", json.dumps({"title": "New", "body": "Written by wrk"})),
    Work("change", "/notes/ID", "PATCH", json.dumps({"body": "Changed by wrk"})),
    Work("synchronize, 0 ms", "/notes/ID/synchronize", "POST"),
    Work("synchronize, 50 ms", "/notes/ID/synchronize", "POST", pause=0.05, users=20),
]
# For these the upstream matters, not the CPU, and users wait for more than the pool has.
SLOW_WORKS = [
    Work("synchronize, 1 s", "/notes/ID/synchronize", "POST", pause=1, users=20),
    Work("synchronize, 5 s", "/notes/ID/synchronize", "POST", pause=5, users=20),
]


def wrk() -> str:
    if path := shutil.which("wrk"):
        return path
    raise SystemExit("wrk is missing: `apt-get install wrk`, `brew install wrk`, or what you have")


def run(command: list[str], seconds: float) -> str:
    """Return what wrk prints; it knows whole seconds only, but ends in order when interrupted."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        if not float(seconds).is_integer():
            time.sleep(seconds)
            running.send_signal(signal.SIGINT)
        output, _ = running.communicate()
    if running.returncode:
        raise SystemExit(f"wrk failed: {output}")
    return output


def ask(
    server: Server, work: Work, seconds: float, first: int = 1, notes: int = NOTES
) -> dict[str, Any]:
    """Let the work's users ask for `seconds`; return CPU a request, requests a second, latencies.

    first, notes: which notes they ask for in turn, so that no two change the same at once.
    """
    command = [
        wrk(),
        "-t1",
        f"-c{work.users}",
        f"-d{math.ceil(seconds)}s",
        "--timeout",
        "30s",
        "-s",
        str(SCRIPT),
    ]
    command += [server.url, "--", work.method, work.path, work.body, str(first), str(notes)]
    before = server.cpu()
    output = run(command, seconds)
    cpu = server.cpu() - before
    # What wrk did not wait for may still change its notes.
    time.sleep(0.05 + 2 * work.pause)
    found = json.loads(output.splitlines()[-1])
    if found["failed"] or found["lost"]:
        raise SystemExit(
            f"{work.name} at {server.url}: {found['failed']} failed, {found['lost']} got no answer"
        )
    if not found["requests"]:
        raise SystemExit(f"{work.name} at {server.url}: no answer within {seconds} s")
    return {
        "cpu": cpu / found["requests"] * 1e6,
        "rate": found["requests"] / found["seconds"],
        "p50": found["p50"],
        "p99": found["p99"],
    }
