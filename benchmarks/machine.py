"""The machine that the figures were measured on."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.workloads import wrk

LIBRARIES = (
    *("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "pydantic", "pydantic-settings"),
    *("orjson", "structlog", "aiohttp", "prometheus-client", "gunicorn", "uvicorn-worker"),
    *("sqlalchemy", "asyncpg", "databases", "psycopg", "httpx2"),
)


def processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        model = re.search(r"model name\s*: (.*)", information.read_text())
        if model:
            return model[1]
    return platform.processor() or platform.machine()


def machine(postgresql: str) -> dict[str, str]:
    """Describe the machine and its software, without names that belong to its owner."""
    return {
        "processor": f"{processor()}, {os.cpu_count()} CPUs",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
        "PostgreSQL": postgresql,
        "wrk": subprocess.run([wrk(), "-v"], capture_output=True, text=True).stdout.split()[1],
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }
