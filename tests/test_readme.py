"""The README and the pages for users: what they show is what a project is, and what it prints."""

import ast
import errno
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

import recording
from tests.choices import CHOICES, CONTEXT, ROOT, TEMPLATES
from tests.support import guide
from tests.support.network import free_port
from tests.support.project_user import ProjectUser
from tests.test_postgres_versions import RELEASES
from tests.test_style import tracked

README = (ROOT / "README.md").read_text()
FIRST_RUN = (ROOT / "docs/first-run.md").read_text()
FAQ = (ROOT / "docs/faq.md").read_text()
QUESTIONS = [name for name in CONTEXT if not name.startswith("_")]
# Whose messages the FAQ explains, besides those of the template.
LIBRARIES = ["alembic.script.base", "asyncpg.connection", "cookiecutter.generate", "mypy.messages"]
LIBRARIES += ["pytest_cov.plugin"]


def section(title: str) -> str:
    [text] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(text)


def tree() -> Iterator[tuple[str, str]]:
    """Yield the paths in the README's tree, each with what is said about it."""
    folders: list[str] = []
    [block] = re.findall(r"^```\n(.*?)^```$", section("What you get"), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()[1:]:
        indent, entries = re.fullmatch("([│├└─ ]+)(.*)", line).groups()  # type: ignore[union-attr]
        del folders[len(indent) // 4 - 1 :]
        names, _, about = entries.partition("   ")
        for name in names.split("  "):
            yield "".join([*folders, name]), about.strip()
        folders.append(name)


def test_tree_is_that_of_a_project(rendered: Callable[..., Path]) -> None:
    project = rendered()
    assert README.count("notes-service/\n") == 1
    entries = dict(tree())
    assert len(entries) > 20
    for path in entries:
        file = project / path
        assert file.is_dir() if path.endswith("/") else file.is_file(), path
    targets = re.findall(r"^([a-z-]+):.*##", (project / "Makefile").read_text(), re.MULTILINE)
    assert {*entries["Makefile"].split(", ")} <= {*targets}
    assert "remove-example" in targets
    for path in re.split(", ", entries["deploy/"]):
        assert (project / "deploy" / path).exists(), path
    pages = {page.stem for page in (project / "docs").glob("*.md")}
    assert {*entries["docs/"].split(", ")} == pages
    assert len(list((project / "docs/guides").iterdir())) == 7
    assert entries["docs/guides/"].startswith("seven guides, ")


def test_code_in_the_readme_is_that_of_the_example(rendered: Callable[..., Path]) -> None:
    source = (rendered() / "src/notes_service/notes/synchronize.py").read_text()
    [code] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    for line in code.splitlines():
        statement = line.partition("  #")[0].strip()
        statement = re.sub(r"^(note =|return) ", "", statement)
        assert statement in source, line


def test_readme_has_each_question_with_its_default() -> None:
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in section("The nine questions").partition("`sqlalchemy` and")[0].splitlines()
        if line.startswith(("| `", "| |"))
    ]
    asked = [row[0] for row in rows if row[0] in CONTEXT]
    assert asked == QUESTIONS
    assert len(asked) == 9
    values: dict[str, list[str]] = {name: [] for name in QUESTIONS}
    question = ""
    for name, default, _ in rows:
        question = name or question
        values[question] += default.split("`, `")
    assert {name: values[name] for name in CHOICES} == CHOICES
    answers = {**CONTEXT, "project_slug": "notes-service", "package_name": "notes_service"}
    for name in QUESTIONS[:5]:
        assert values[name][0].partition(", from the")[0] == answers[name]


def commands(text: str) -> list[str]:
    return re.findall(r"^cookiecutter gh:org/cookiecutter-async-postgres.*", text, re.MULTILINE)


def test_line_without_questions_renders_a_project(tmp_path: Path) -> None:
    ask, line = commands(README)
    assert ask == recording.COOKIECUTTER
    _, _, *arguments = shlex.split(line)
    python = [sys.executable, "-m", "cookiecutter", ROOT]
    subprocess.run([*python, *arguments], cwd=tmp_path, check=True, capture_output=True)
    [project] = tmp_path.iterdir()
    assert project.name == "order-service"
    assert "AsyncSession" in (project / "src/order_service/database.py").read_text()
    assert "fastapi" not in (project / "pyproject.toml").read_text()


def test_versions_of_postgresql_are_those_that_are_tested() -> None:
    oldest, newest = min(RELEASES, key=int), max(RELEASES, key=int)
    assert README.count(f"PostgreSQL {oldest} to {newest}") == 2
    assert [int(release) for release in RELEASES] == list(range(int(oldest), int(newest) + 1))
    assert f"image: postgres:{newest}" in (TEMPLATES / "common/deploy/compose.yaml").read_text()


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target in tracked(), link
        assert not anchor or anchor in anchors(target), link


def test_readme_shows_plots_and_leads_to_every_page() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in README, page.name
    assert "](docs/first-run.svg)" in README
    # What only concerns those who change the template comes last.
    before, _, _ = README.partition("## Read on")
    assert "CONTRIBUTING" not in before


def texts(svg: Path) -> list[str]:
    """Return what each picture of a recording shows, without white space, which it may break."""
    space = "{http://www.w3.org/2000/svg}"
    groups = ElementTree.parse(svg).getroot().findall(f"{space}g")  # noqa: S314
    return [
        re.sub(r"\s", "", "".join(text.text or "" for text in group.iter(f"{space}text")))
        for group in groups
    ]


def test_recording_shows_the_questions_of_now(tmp_path: Path) -> None:
    questions, service = texts(recording.SVG)
    asked = recording.plain(recording.answer_questions(tmp_path))
    assert questions == re.sub(r"\s", "", f"${recording.COOKIECUTTER}{asked}")
    for name, prompt in CONTEXT["__prompts__"].items():
        labels = prompt.values() if isinstance(prompt, dict) else [prompt]
        for label in labels:
            assert re.sub(r"\s", "", label) in questions, name
    for line in (recording.RUN, recording.CREATE, recording.SYNCHRONIZE):
        assert re.sub(r"\s", "", line) in service
    develop = (TEMPLATES / "common/scripts/develop.py").read_text()
    for line in ("Started PostgreSQL, with its data in .postgres: ", "Serving until Ctrl-C: "):
        assert line in develop
        assert re.sub(r"\s", "", line) in service
    assert '"title":"First"' in service


def test_recording_is_small_and_loads_nothing() -> None:
    svg = recording.SVG.read_text()
    assert len(svg) < 100_000
    assert re.findall(r"https?://[^\s\"<]+", re.sub(r"<text.*?</text>", "", svg)) == [
        "http://www.w3.org/2000/svg"
    ]
    assert "/tmp/" not in svg  # noqa: S108


@pytest.mark.slow
def test_first_run_is_followed(project_user: Callable[..., ProjectUser]) -> None:
    user = project_user()
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    render, run, requests, *rest = guide.blocks(FIRST_RUN)
    assert (render.content.strip(), run.content) == (
        recording.COOKIECUTTER,
        "cd notes-service\nmake run\n",
    )
    with user.serve("make run", f"{url}/health/ready", PORT=port):
        output = user.run(requests.content.replace("http://127.0.0.1:8000", url))
    statuses = re.findall(r"^HTTP/1\.1 (\d+)", output, re.MULTILINE)
    assert statuses == ["201", "200", "200", "404", "200"]
    zoe = {
        f"GIT_{role}_{what}": "zoe@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    for block in rest:
        if block.content == "make check test\n":
            # The other tests of a project are run often enough.
            user.run("make check && .venv/bin/pytest tests/notes/test_page_size.py")
            user.run(".venv/bin/pytest tests/notes/test_notes.py")
        elif block.language == "sh":
            user.run(block.content, **zoe)
        else:
            guide.apply(block, user.project)
    log = user.run("git log --format=%s && git status --short && git ls-files")
    assert log.startswith(
        "Show 20 notes on a page\nRender cookiecutter-async-postgres\n.dockerignore"
    )
    assert "uv.lock" in log


# What str.format and % replace.
PLACEHOLDER = re.compile(r"\{\w*(?::[^{}]*)?\}|%\(\w+\)s|%[sd]")


@cache
def messages() -> list[str]:
    """Return the texts in the code of the template and of the libraries, with … for what differs."""
    files = [*TEMPLATES.rglob("*.py"), *(ROOT / "hooks").glob("*.py")]
    for module in LIBRARIES:
        spec = find_spec(module)
        assert spec is not None and spec.origin is not None
        files.append(Path(spec.origin).parent / f"{module.rpartition('.')[2]}.py")
    texts = [f"[Errno 98] {os.strerror(errno.EADDRINUSE)}"]  # 98 is Linux's
    texts += [file.read_text() for file in TEMPLATES.glob("packaging/*/Makefile")]
    for file in files:
        module_text = ast.parse(file.read_text())
        constants = {
            target.id: node.value.value
            for node in module_text.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(module_text):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(text_of(part, constants) for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(PLACEHOLDER.sub("…", node.value))
    return texts


def text_of(part: ast.expr, constants: dict[str, object]) -> str:
    """Return a part of an f-string. A constant of the module is its value."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    name = part.value.id if isinstance(part.value, ast.Name) else None
    return str(constants.get(name, "…")) if name else "…"


def pattern(text: str) -> re.Pattern[str]:
    """Return a pattern for a text in which … is any text."""
    parts = [re.escape(part.strip()) for part in text.split("…")]
    return re.compile(".*?".join(parts), re.DOTALL)


def is_printed(message: str, text: str) -> bool:
    """Return whether a message of the FAQ is what the code prints with `text`."""
    letters = text.replace("…", "").strip()
    prints = len(letters) > 12 and pattern(text).fullmatch(message)
    return bool(prints or pattern(message).search(text))


HEADINGS = re.findall(r"^### (.*)$", FAQ, re.MULTILINE)


@pytest.mark.parametrize("heading", HEADINGS)
def test_message_in_the_faq_is_one_that_is_printed(heading: str) -> None:
    message = heading.strip("`")
    assert f"`{message}`" == heading
    assert any(is_printed(message, text) for text in messages())


def test_faq_has_enough_messages() -> None:
    assert len({*HEADINGS}) == len(HEADINGS) >= 15
    for message in ("DATABASE_URL is set: see .env.example", "Not begun: …", "the password is bad"):
        assert not any(is_printed(message, text) for text in messages()), message
