"""A connection is lent for the length of a block, whoever had it before."""

from pathlib import Path

import pytest

from tests.choices import Combination, combinations, name
from tests.layers import check


@pytest.mark.slow
@pytest.mark.parametrize("layer", combinations("sqlalchemy", "pool"), ids=name)
def test_a_connection_is_as_good_as_new(
    layer: Combination, database_url: str, tmp_path: Path
) -> None:
    check(layer, "lending.py", database_url, tmp_path)
