"""The choices in cookiecutter.json, their combinations, and the folders with each one's code."""

import json
import os
from itertools import product
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parent.parent
TEMPLATES = ROOT / "templates"
CONTEXT = json.loads((ROOT / "cookiecutter.json").read_text())
CHOICES: dict[str, list[str]] = {
    name: values for name, values in CONTEXT.items() if isinstance(values, list)
}

Combination: TypeAlias = dict[str, str]


def combinations(*names: str) -> list[Combination]:
    """Return every combination of the values of the choices `names`."""
    values = product(*(CHOICES[name] for name in names))
    return [dict(zip(names, chosen, strict=True)) for chosen in values]


def name(combination: Combination) -> str:
    return "-".join(combination.values())


def source_folders(combination: Combination) -> list[Path]:
    """Return the folders that together are the code of a combination."""
    chosen = [TEMPLATES / choice / value for choice, value in combination.items()]
    shared = [folder / value for folder in chosen for value in combination.values()]
    return [TEMPLATES / "common", *(folder for folder in [*chosen, *shared] if folder.is_dir())]


def python_path(combination: Combination) -> str:
    """Return the PYTHONPATH with which the code of a combination runs before it is rendered."""
    return os.pathsep.join(map(str, source_folders(combination)))


# The choices that decide about code; the others are about tools.
CODE = [choice for choice in CHOICES if any((TEMPLATES / choice).rglob("*.py"))]
PROGRAMS = combinations(*CODE)
PROJECTS = combinations(*CHOICES)

if __name__ == "__main__":
    print(json.dumps([name(program) for program in PROGRAMS]))  # for the GitHub workflow
