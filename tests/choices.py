"""What cookiecutter.json offers, every combination of it, and where each one's code is."""

import json
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
    """Combine the values of the choices called `names` in every way."""
    values = product(*(CHOICES[name] for name in names))
    return [dict(zip(names, chosen, strict=True)) for chosen in values]


def name(combination: Combination) -> str:
    return "-".join(combination.values())


def rooms(combination: Combination) -> list[Path]:
    """List the folders that a combination's code is in."""
    chosen = [TEMPLATES / choice / value for choice, value in combination.items()]
    shared = [room / value for room in chosen for value in combination.values()]
    return [TEMPLATES / "common", *(room for room in [*chosen, *shared] if room.is_dir())]


# The choices that decide about code; the others are about tools.
CODE = [choice for choice in CHOICES if any((TEMPLATES / choice).rglob("*.py"))]
PROGRAMS = combinations(*CODE)
PROJECTS = combinations(*CHOICES)
