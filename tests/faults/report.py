"""docs/faults.md: what `make soak` measured, one row for each program and fault."""

import json
from pathlib import Path
from typing import Any, TypeAlias

from tests.choices import PROGRAMS, ROOT, Combination, name
from tests.faults.fault_injection import LONGEST_REFUSAL, POOL_TIMEOUT, Fault, title

RESULTS = ROOT / ".soak"
DOCUMENT = ROOT / "docs" / "faults.md"
MEMORY = "memory"
COLUMNS = ["sent", "refused", "acknowledged", "lost", "recovery", "refusal"]
HEAD = """# What became of every acknowledged write

`make soak` writes this page ([CONTRIBUTING.md](../CONTRIBUTING.md)). While users wrote, read and synchronized
notes, each of these faults happened to each program. Then every answer was compared with the database. *Recovery* is
the number of seconds from the end of the fault until the last refusal, or until the last user's first
acknowledged write. *Refusal* is the longest time that a refused request waited, for each of its transactions. The timeouts of the pool
and of statements were {timeout:g} s each, so a refusal may take {longest:g} s, plus the time that the process itself was blocked.
"""

Result: TypeAlias = dict[str, Any]


def result_file(program: Combination, subject: str) -> Path:
    return RESULTS / f"{name(program)}.{subject}.json"


def save(program: Combination, subject: str, result: Result) -> None:
    RESULTS.mkdir(exist_ok=True)
    result_file(program, subject).write_text(json.dumps(result))


def forget(program: Combination, subject: str) -> None:
    """Remove the result of an earlier run, so that no document shows it when this run fails."""
    result_file(program, subject).unlink(missing_ok=True)


def write(faults: list[Fault]) -> None:
    """Write the document, if every result is there."""
    results: dict[str, dict[str, Result]] = {name(program): {} for program in PROGRAMS}
    for file in RESULTS.glob("*.json"):
        program, subject = file.stem.split(".")
        results[program][subject] = json.loads(file.read_text())
    if all({*map(title, faults), MEMORY} <= measured.keys() for measured in results.values()):
        DOCUMENT.write_text(document(results, faults))


def document(results: dict[str, dict[str, Result]], faults: list[Fault]) -> str:
    text = HEAD.format(timeout=POOL_TIMEOUT, longest=LONGEST_REFUSAL)
    text += (
        f"\n| program | fault | {' | '.join(COLUMNS)} |\n" + "| --- " * (2 + len(COLUMNS)) + "|\n"
    )
    for program, measured in results.items():
        for fault in map(title, faults):
            values = " | ".join(f"{measured[fault][column]:,}" for column in COLUMNS)
            text += f"| {program} | {fault} | {values} |\n"
    text += "\n## Memory\n\nOf the process alone (USS), in MB, after so many requests.\n"
    text += "\n| program | 10,000 | 100,000 |\n| --- | --- | --- |\n"
    for program, measured in results.items():
        text += f"| {program} | {' | '.join(map(str, measured[MEMORY].values()))} |\n"
    return text
