"""All programs that are measured: the service in every combination, baselines and alternatives."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.choices import PROGRAMS, ROOT, name, source_folders


@dataclass(frozen=True)
class Program:
    name: str
    app: str  # as uvicorn takes it
    folders: tuple[Path, ...] = ()  # of the templates
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that make the unrendered templates importable, and the settings."""
        return {"PYTHONPATH": os.pathsep.join(map(str, (*self.folders, ROOT))), **self.settings}


def baseline(name: str, module: str, **settings: str) -> Program:
    return Program(f"baselines/{name}", f"benchmarks.baselines.{module}:app", settings=settings)


def alternative(name: str, module: str, **settings: str) -> Program:
    path = f"benchmarks.alternatives.{module}:app"
    return Program(f"alternatives/{name}", path, settings=settings)


SERVICES = [
    Program(name(choice), "service.main:app", tuple(source_folders(choice))) for choice in PROGRAMS
]
NO_RESET = {"POOL_RESET": "off"}
BASELINES = [
    baseline("fastapi-asyncpg", "fastapi_asyncpg"),
    baseline("fastapi-asyncpg-no-reset", "fastapi_asyncpg", **NO_RESET),
    baseline("fastapi-databases", "fastapi_databases"),
    baseline("starlette-asyncpg", "starlette_asyncpg"),
    baseline("starlette-asyncpg-no-reset", "starlette_asyncpg", **NO_RESET),
    baseline("starlette-databases", "starlette_databases"),
]
SESSION = alternative("fastapi-session", "fastapi_session")
FUNCTION_SCOPE = alternative(
    "fastapi-session-function-scope", "fastapi_session", SESSION_SCOPE="function"
)
ALTERNATIVES = [
    SESSION,
    FUNCTION_SCOPE,
    alternative("fastapi-threads", "fastapi_threads"),
    alternative("starlette-engine", "starlette_engine"),
]
ALL = {program.name: program for program in (*SERVICES, *BASELINES, *ALTERNATIVES)}


def baseline_of(name: str, pool: str = "asyncpg") -> str:
    """Return the name of the baseline that uses the program's framework."""
    framework = "starlette" if "starlette" in name else "fastapi"
    return f"baselines/{framework}-{pool}"


def baselines_of(name: str) -> list[str]:
    """Return the names of all baselines that a program should be compared with."""
    pools = ["asyncpg", "asyncpg-no-reset", *(["databases"] if "databases" in name else [])]
    return [baseline_of(name, pool) for pool in pools]
