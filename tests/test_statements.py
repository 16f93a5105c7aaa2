"""Statements that are compiled once are what they are when they are compiled at every run."""

from pathlib import Path

import pytest

from tests.choices import Combination, combinations, name, rooms
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


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS, ids=name)
def test_a_statement_is_compiled_once_and_loses_nothing(
    layer: Combination, database_url: str, tmp_path: Path
) -> None:
    check(layer, "statements.py", database_url, tmp_path)
