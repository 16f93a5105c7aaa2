"""The tests of a project pass with a real API: protected routes, fixed paths among parameters, any
names of tables."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.choices import PROGRAMS, Combination, combinations, name
from tests.support import guide
from tests.support.others import mark_others

ROUTES = {
    "fastapi": '''
from typing import Annotated

from fastapi import APIRouter, Path, Response

from ..openapi import problems
from ..users.current import CurrentUser
from ..users.tokens import User

Slug = Annotated[str, Path(pattern="^[a-z0-9-]{1,50}$")]
routes = APIRouter(prefix="/articles", tags=["articles"])


@routes.get("/feed", responses=problems(401, 503))
async def get_feed(user: CurrentUser) -> User:
    """Return the user's feed."""
    return user


@routes.get("/{slug}", responses=problems(422))
async def get_article(slug: Slug) -> User:
    """Return an article."""
    return User(id=slug, scopes=[])


@routes.put("/{slug}", responses=problems(401, 413, 422, 503))
async def put_article(slug: Slug, content: User, user: CurrentUser) -> User:
    """Store an article."""
    return content


@routes.delete(
    "/{slug}", status_code=204, response_class=Response, responses=problems(401, 422, 503)
)
async def delete_article(slug: Slug, user: CurrentUser) -> None:
    """Delete an article."""
''',
    "starlette": '''
from functools import partial
from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .. import openapi
from ..requests import answer, read
from ..users.current import BEARER, current_user
from ..users.tokens import User

describe = partial(openapi.describe, tag="articles")


class ArticlePath(BaseModel):
    slug: Annotated[str, Field(pattern="^[a-z0-9-]{1,50}$")]


class OneArticle(BaseModel):
    path: ArticlePath


class PutArticle(OneArticle):
    body: User


@describe(answer=User, problems=[401, 503], security=BEARER)
async def get_feed(request: Request) -> Response:
    """Return the user's feed."""
    return answer(await current_user(request))


@describe(OneArticle, answer=User, problems=[422])
async def get_article(request: Request) -> Response:
    """Return an article."""
    return answer(User(id=(await read(request, OneArticle)).path.slug, scopes=[]))


@describe(PutArticle, answer=User, problems=[401, 413, 422, 503], security=BEARER)
async def put_article(request: Request) -> Response:
    """Store an article."""
    await current_user(request)
    return answer((await read(request, PutArticle)).body)


@describe(OneArticle, status=204, problems=[401, 422, 503], security=BEARER)
async def delete_article(request: Request) -> Response:
    """Delete an article."""
    await current_user(request)
    await read(request, OneArticle)
    return Response(status_code=204)


routes = [
    Route("/articles/feed", get_feed),
    Route("/articles/{slug}", get_article),
    Route("/articles/{slug}", put_article, methods=["PUT"]),
    Route("/articles/{slug}", delete_article, methods=["DELETE"]),
]
''',
}
TESTS = [
    *("tests/test_schema.py", "tests/test_openapi.py", "tests/test_routing.py"),
    *("tests/test_http.py", "tests/users"),
]


def run_python(project: Path, *command: str, **environment: str) -> CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": f"{project / 'src'}:{project}", **environment},
        capture_output=True,
        text=True,
    )


def run_tests(project: Path, *tests: str, **environment: str) -> CompletedProcess[str]:
    return run_python(project, "-m", "pytest", "-q", *tests, **environment)


@pytest.mark.slow
@pytest.mark.parametrize("program", mark_others(combinations("framework")), ids=name)
def test_shipped_tests_pass_with_a_real_api(
    program: Combination, render: Callable[..., Path]
) -> None:
    project = render(**program)
    for block in guide.blocks((project / "docs" / "guides" / "authenticate.md").read_text()):
        if block.language != "sh":
            guide.apply(block, project)
    package = project / "src" / "notes_service"
    articles = package / "articles" / "routes.py"
    articles.parent.mkdir()
    articles.write_text(ROUTES[program["framework"]])
    domains = package / "domains.py"
    head, start, rest = domains.read_text().partition("\nDOMAINS = [\n")
    head += "\nfrom .articles.routes import routes as article_routes\n"
    domains.write_text(f"{head}{start}    Domain(article_routes),\n{rest}")

    done = run_tests(project, *TESTS)
    assert done.returncode == 0, done.stdout

    # The schema's test notices a route that says that it demands a user, and does not.
    current = package / "users" / "current.py"
    check = "        raise NotAuthenticated\n"
    assert current.read_text().count(check) == 1
    current.write_text(
        current.read_text().replace(check, '        return User(id="nobody", scopes=[])\n')
    )
    done = run_tests(project, *TESTS)
    assert done.returncode == 1
    assert "API accepts requests without authentication" in done.stdout


# What a test creates in the database of the service.
CREATED = re.compile(
    r"CREATE (?:TABLE|TYPE|FUNCTION|SEQUENCE|SCHEMA|CONSTRAINT TRIGGER)(?: IF NOT EXISTS)? (\w+)"
    r"|__tablename__ = \"(\w+)\""
    r"|\bTable\(\s*\"(\w+)\""
)
OTHERS = {
    "alembic_version",  # in a database of its own
    "x",  # never created
}


@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_names_that_shipped_tests_create_begin_with_test(
    program: Combination, rendered: Callable[..., Path]
) -> None:
    created = {
        next(filter(None, match.groups()))
        for file in (rendered(**program) / "tests").rglob("*.py")
        for match in CREATED.finditer(file.read_text())
    }
    assert {"test_items", "test_boxes", "test_parcels", "test_samples", "test_fail"} <= created
    assert {name for name in created if not name.startswith("test_")} == OTHERS & created


# Tables and classes named like those of the shipped tests.
NAMES = ["Box", "Item", "Jar", "Parcel", "Player", "Sample", "Shelf", "Team", "Thing", "Written"]
MODELS = {
    "core": (
        "from sqlalchemy import Column, Integer, Table\n\nfrom ..models import metadata\n",
        '{table} = Table("{table}", metadata, Column("id", Integer, primary_key=True))\n',
    ),
    "orm": (
        "from sqlalchemy.orm import Mapped, mapped_column\n\nfrom ..models import Base\n",
        "class {name}(Base):\n"
        '    __tablename__ = "{table}"\n\n'
        "    id: Mapped[int] = mapped_column(primary_key=True)\n",
    ),
}
MIGRATION = """\
import sqlalchemy as sa
from alembic import op

revision = "shop"
down_revision = "notes_not_synchronized"
branch_labels = None
depends_on = None
TABLES = {tables}


def upgrade() -> None:
    for name in TABLES:
        op.create_table(
            name,
            sa.Column("id", sa.Integer(), nullable=False),
            sa.PrimaryKeyConstraint("id", name=op.f(f"{{name}}_pkey")),
        )


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
"""


@pytest.mark.slow
@pytest.mark.parametrize("layer", mark_others(combinations("sqlalchemy")), ids=name)
def test_shipped_tests_pass_with_tables_of_the_same_names(
    layer: Combination, render: Callable[..., Path]
) -> None:
    project = render(**layer)
    package = project / "src" / "notes_service"
    tables = [name.lower() + "s" for name in NAMES]
    head, table = MODELS[layer["sqlalchemy"]]
    models = [table.format(name=name, table=name.lower() + "s") for name in NAMES]
    (package / "shop").mkdir()
    (package / "shop" / "models.py").write_text("\n\n".join([head, *models]))
    domains = package / "domains.py"
    domains.write_text(f"{domains.read_text()}\nfrom .shop import models  # noqa\n")
    versions = project / "migrations" / "versions"
    (versions / "2026_12_01_1200_shop.py").write_text(MIGRATION.format(tables=tables))

    of_layer = "statement" if layer["sqlalchemy"] == "core" else "session"
    files = ["constraints", "fields", "tables", "transactions", of_layer]
    done = run_tests(project, *(f"tests/test_{file}.py" for file in files))
    assert done.returncode == 0, done.stdout
