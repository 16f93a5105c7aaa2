"""The domains of this service. To add or remove one, change this list and its folder."""

from typing import NamedTuple

from fastapi import APIRouter

from .health import router as health_router
from .lifespan import DomainLifespan
from .notes.lifespan import lifespan as notes_lifespan  # The example
from .notes.routes import router as notes_router  # The example


class Domain(NamedTuple):
    router: APIRouter
    lifespan: DomainLifespan | None = None


# Their routes are tried in this order, so the domain with the most requests comes first.
DOMAINS = [
    Domain(notes_router, notes_lifespan),  # The example
    Domain(health_router),
]
