"""Statements that are compiled once are what they are when they are compiled at every run."""

from pathlib import Path

import pytest

from tests.choices import CHOICES, TEMPLATES, Combination, combinations, name, rooms
from tests.layers import check

LAYERS = [
    layer
    for layer in combinations("sqlalchemy", "pool")
    if any(
        "class Statement" in file.read_text()
        for room in rooms(layer)
        for file in room.glob("service/database.py")
    )
]


def test_these_layers_have_statements_of_their_own() -> None:
    assert len(LAYERS) == 3


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS, ids=name)
def test_a_statement_is_compiled_once_and_loses_nothing(
    layer: Combination, database_url: str, tmp_path: Path
) -> None:
    check(layer, "statements.py", database_url, tmp_path)


def test_the_same_core_statements_are_asked_whatever_the_pool() -> None:
    files = (
        TEMPLATES / "pool" / pool / "core/service/notes/queries.py" for pool in CHOICES["pool"]
    )
    asked = {file.read_text().partition("\n\n\nasync def ")[0] for file in files}
    assert len(asked) == 1
