"""Everything that is measured: the service in every combination, its floors and its peers."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.choices import PROGRAMS, ROOT, name, rooms


@dataclass(frozen=True)
class Program:
    name: str
    app: str
    path: tuple[Path, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Where Python is to look: the unrendered templates run as they are."""
        return {"PYTHONPATH": os.pathsep.join(map(str, (*self.path, ROOT)))}


SERVICES = [Program(name(chosen), "service.main:app", tuple(rooms(chosen))) for chosen in PROGRAMS]


def found(folder: str) -> list[Program]:
    """List the programs in a folder beside this file: the modules with an underscore."""
    modules = sorted(path.stem for path in (Path(__file__).parent / folder).glob("[a-z]*_*.py"))
    return [
        Program(f"{folder}/{module.replace('_', '-')}", f"benchmarks.{folder}.{module}:app")
        for module in modules
    ]


FLOORS = found("floors")
PEERS = found("peers")


def floor(name: str) -> str:
    """Name the floor of a program: what its framework costs on bare asyncpg."""
    framework = "starlette" if "starlette" in name else "fastapi"
    return f"floors/{framework}-asyncpg"


def keeping(name: str) -> str:
    """Name the floor that, as the service does, leaves connections as they come back."""
    return f"{floor(name)}-keeping"


def floors(name: str) -> list[str]:
    """Name all that a program is to be seen beside."""
    bare = floor(name).replace("asyncpg", "databases")
    return [floor(name), keeping(name), *([bare] if name.endswith("-databases") else [])]


ALL = {program.name: program for program in (*SERVICES, *FLOORS, *PEERS)}
