"""Tests that take long: `make test` runs them for some choices, `make test-others` for the others."""

from collections.abc import Sequence
from typing import Any

import pytest


def mark_others(
    choices: Sequence[Any], than: Sequence[Any] | None = None
) -> list[pytest.ParameterSet]:
    """Return parameters of a test, of which `make test` runs those in `than`, or the first one."""
    kept = choices[:1] if than is None else than
    assert any(choice in kept for choice in choices)
    return [
        pytest.param(choice, marks=[] if choice in kept else [pytest.mark.others])
        for choice in choices
    ]
