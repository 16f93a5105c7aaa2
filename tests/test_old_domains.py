"""A domain from before the first release is carried over as CHANGELOG.md says."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.choices import ROOT, Combination, name
from tests.support.others import mark_others
from tests.test_shipped_tests import run_tests
from tests.test_updates import COMBINATIONS, Project, Template, run

STATE = "ca984d3"  # the last one with the old names
CHANGELOG = (ROOT / "CHANGELOG.md").read_text().partition("\n## 2026.11.1\n")[2]
FOLDERS = ["src/notes_service/notes", "tests/notes", "migrations/versions"]
# Files, with a text in them and what comes in its place: first the settings that the domain's user
# has added, then what each item of the changelog's list asks for.
BY_HAND = r"""
settings.py: cors_o => upstream_url: str\n    upstream_timeout: Duration = 10\n    cors_o
settings.py: cors_o => upstream_max_connections: int = 1000\n    cors_o
# List the domain
domains.py: from .health => from .notes.routes import ROUTES\nfrom .health
domains.py: from .health => from .notes.lifespan import lifespan\nfrom .health
domains.py: DOMAINS = [ => DOMAINS = [Domain(ROUTES, lifespan),
# Its `lifespan`
notes/lifespan.py: from ..settings => from ..lifespan import State\nfrom ..settings
notes/lifespan.py: \n@ => \nclass NotesState(State):\n    upstream: Upstream\n\n\n@
notes/lifespan.py: (settings: Settings) => (settings: Settings, state: State)
notes/lifespan.py: dict[str, Upstream] => NotesState
notes/lifespan.py: {"upstream": upstream} => NotesState(**state, upstream=upstream)
# With `databases`
# `operationId`
notes/schemas.py: "operationId": name => "operationId": f"notes-{name}"
# Field types
notes/routes.py: from ..etags => from ..fields import Id\nfrom ..etags
notes/routes.py: schemas.NoteId => Id
notes/schemas.py: from ..etags => from ..fields import Digits\nfrom ..etags
notes/schemas.py: Whole = BeforeValidator(digits)\n => \n
notes/schemas.py: NoteId = Annotated[int, Field(ge=1, lt=BIGINT_END), Whole]\n => \n
notes/schemas.py: , Whole] => , Digits]
# `@retry_on_conflict` surrounds reads, too
notes/routes.py: \nasync def get_note => \n@retry_on_conflict\nasync def get_note
notes/routes.py: \nasync def list_ => \n@retry_on_conflict\nasync def list_
# `Location` and `next`
notes/routes.py: from ..etags => from ..paths import path_to\nfrom ..etags
notes/routes.py: f"/notes/{note.id}" => path_to("notes", note.id)
notes/schemas.py: from ..etags => from ..paths import path_to\nfrom ..etags
notes/schemas.py: f"/notes? => f"{path_to('notes')}?
notes/schemas.py: f"/notes/{note_id} => f"{path_to('notes', note_id)}
# Settings without a default
.env.development: # Settings => UPSTREAM_URL=http://127.0.0.1:9\n# Settings
# Fixtures of tests
notes/test_hostile.py: import Process, request => import ServiceProcess, raw_request
notes/test_hostile.py:  request( =>  raw_request(
notes/test_hostile.py: process: Process => service_process: ServiceProcess
notes/test_hostile.py: (process, sql) => (service_process, sql)
notes/test_hostile.py: process.tell => service_process.send
notes/test_hostile.py: process.lines => service_process.output
notes/test_hostile.py: process.port => service_process.port
# A constraint that refuses a change
notes/test_transactions.py: ("23514", 500) => ("23514", 422)
# `postgres_proxy.statements`
notes/test_transactions.py: meanwhile[:] = postgres_proxy => meanwhile[:] = FIRST_WORDS\n        postgres_proxy
notes/test_transactions.py: " ".join(postgres_proxy.statements()) => " ".join(FIRST_WORDS)
notes/test_transactions.py: postgres_proxy.statements()\n => postgres_proxy.statements.clear()\n
notes/test_transactions.py: FIRST_WORDS => [each.split()[0].strip(";") for each in postgres_proxy.statements]
"""


@pytest.mark.slow
@pytest.mark.parametrize("combination", mark_others(COMBINATIONS[:2]), ids=name)
def test_old_domain_is_carried_over_as_the_changelog_says(
    combination: Combination,
    render: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    mypy_cache: Path,
) -> None:
    template = Template(tmp_path_factory.mktemp("template") / "clone")
    template.require(STATE)
    folder = tmp_path_factory.getbasetemp()
    old = Project(template, folder / "old" / "notes-service", mypy_cache)
    old.create(STATE, combination)
    project = Project(template, folder / "updated" / "notes-service", mypy_cache)
    shutil.rmtree(project.path, ignore_errors=True)
    shutil.copytree(render(**combination), project.path)
    project.remove_example()
    for part in FOLDERS:
        shutil.copytree(old.path / part, project.path / part, dirs_exist_ok=True)

    for block in re.findall(r"^```sh\n(.*?)^```$", CHANGELOG, re.MULTILINE | re.DOTALL):
        commands = block.replace("src/my_service/books", FOLDERS[0])
        run(commands.replace("$TESTS", "tests/notes/*.py"), project.path)
    items = re.findall(r"^- \*\*(.*?)\*\*", CHANGELOG.partition("Then, as")[2], re.MULTILINE)
    assert re.findall(r"^# (.*)", BY_HAND, re.MULTILINE) == items
    routes = {"fastapi": "router", "starlette": "routes"}[combination["framework"]]
    for file, *texts in re.findall(r"^(\S+): (.*) => (.*)$", BY_HAND, re.MULTILINE):
        before, after = (text.replace(r"\n", "\n").replace("ROUTES", routes) for text in texts)
        [path] = project.path.rglob(file)
        assert before in path.read_text(), f"{file} does not have {before!r}"
        path.write_text(path.read_text().replace(before, after))
    project.format()
    assert project.check() == set()
    done = run_tests(project.path, "-p", "no:cacheprovider", "tests/test_openapi.py", "tests/notes")
    assert done.returncode == 0, done.stdout
