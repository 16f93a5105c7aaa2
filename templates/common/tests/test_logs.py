"""Logs: one line a request, whatever became of it."""

import json
import logging
import runpy
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient

from service.settings import Settings


@pytest.fixture
def configured() -> Iterator[None]:
    """Undo at the end what the service does to the logs of its process."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    yield
    structlog.configure(**before)
    root.handlers, root.level = handlers, level
