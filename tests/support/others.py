"""Long tests: `make test` runs them for some choices, `make test-others` for the others."""

from collections.abc import Sequence
from typing import Any

import pytest


def mark_others(
    choices: Sequence[Any], kept: Sequence[Any] | None = None
) -> list[pytest.ParameterSet]:
    """Mark all choices except those that `make test` keeps: by default, the first one."""
    kept = choices[:1] if kept is None else kept
    assert kept
    assert all(choice in choices for choice in kept)
    return [
        pytest.param(choice, marks=[] if choice in kept else [pytest.mark.others])
        for choice in choices
    ]
