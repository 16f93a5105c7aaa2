"""The domains of this service. To add or remove one, change this list and its folder."""

from collections.abc import Sequence
from typing import NamedTuple

from starlette.routing import BaseRoute

from .health import routes as health_routes
from .lifespan import DomainLifespan
from .notes.lifespan import lifespan as notes_lifespan  # The example
from .notes.routes import routes as notes_routes  # The example


class Domain(NamedTuple):
    routes: Sequence[BaseRoute]
    lifespan: DomainLifespan | None = None


# Their routes are tried in this order, so the domain with the most requests comes first.
DOMAINS = [
    Domain(notes_routes, notes_lifespan),  # The example
    Domain(health_routes),
]
