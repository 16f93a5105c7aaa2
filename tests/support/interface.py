"""The interface of a rendered project that a domain of its owner may rely on.

It is what the guides and the example import, and every error. `docs/interface.txt` declares it:

    .venv/bin/python -m tests.support.interface > docs/interface.txt
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from tests.choices import CHOICES, CODE, PROGRAMS, ROOT, Combination, source_folders

FILE = ROOT / "docs" / "interface.txt"

# An import in a Python file, or in a block of a guide, where it may be a line of a diff.
IMPORT = re.compile(r"^[ +]*from (\.\.|tests\.)(\w*) import (?:\(([^)]*)\)|(.*))$", re.MULTILINE)
# A test of a guide names the fixtures that it needs.
TEST = re.compile(r"^[ +]*async def test_\w+\(([^)]*)\)", re.MULTILINE)
# A user may raise or catch every error, and lists domains in domains.py.
ALWAYS = {"service.domains": {"Domain"}}


def modules(program: Combination) -> dict[str, Path]:
    """Return the modules that a domain, or its tests, can import."""
    return {
        f"{folder}.{path.stem}": path
        for source in source_folders(program)
        for folder in ("service", "tests")
        for path in (source / folder).glob("*.py")
    }


def users(program: Combination) -> Iterator[str]:
    """Yield the texts that use the interface: the guides, with their tests, and the example."""
    for source in source_folders(program):
        for folder, pattern in (("docs/guides", "*.md"), ("service/notes", "*.py")):
            for path in (source / folder).rglob(pattern):
                yield path.read_text()


def used_names(program: Combination) -> dict[str, set[str]]:
    """Return the names that are used, by their modules."""
    known = modules(program)
    names = defaultdict(set, {module: set(ALWAYS.get(module, ())) for module in ALWAYS})
    for text in users(program):
        for package, module, several, one in IMPORT.findall(text):
            imported = set(re.findall(r"\w+", re.sub(r"#.*| as \w+", "", several or one)))
            if module:
                names[{"..": "service", "tests.": "tests"}[package] + "." + module] |= imported
            else:  # such as `from .. import openapi`
                for name in imported:
                    names[f"service.{name}"].update(re.findall(rf"\b{name}\.(\w+)", text))
        for parameters in TEST.findall(text):
            names["tests.conftest"].update(re.findall(r"(\w+):", parameters))
    names["service.errors"].update(
        node.name
        for node in ast.parse(known["service.errors"].read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    return {module: names[module] for module in names if module in known}


def signature(node: ast.AST) -> list[str]:
    """Describe a definition without what only concerns its own module, a line for each member."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [function_signature(node)]
    if isinstance(node, ast.ClassDef):
        lines = [f"class({', '.join(map(ast.unparse, node.bases))})"]
        for member in node.body:
            for name in defined_names(member):
                if name in ("__init__", "__call__") or not name.startswith(("_", "model_config")):
                    lines += [f".{name}: {line}" for line in signature(member)]
        return lines
    if isinstance(node, ast.AnnAssign):
        annotation = shortened(node.annotation)
        if annotation == "TypeAlias" and node.value:
            return [f"TypeAlias = {ast.unparse(node.value)}"]
        return [annotation + (f" = {shortened(node.value)}" if node.value else "")]
    assert isinstance(node, ast.Assign)
    return [shortened(node.value)]


def function_signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}
    keyword = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    returns = ast.unparse(node.returns) if node.returns else ""
    if "pytest.fixture" in decorators:  # tests name it, and pytest calls it
        return f"fixture -> {returns}"
    if "asynccontextmanager" in decorators:  # its callers cannot tell it from a function like this
        decorators.remove("asynccontextmanager")
        keyword, returns = "", returns.replace("AsyncIterator", "AbstractAsyncContextManager")
    prefix = "".join(f"@{name} " for name in sorted(decorators))
    return f"{prefix}{keyword}({ast.unparse(node.args)}) -> {returns}"


def shortened(value: ast.AST) -> str:
    """Return a type or a value, without what could be written in another way."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return "..."  # a text may be worded better
    if isinstance(value, ast.Call) and ast.unparse(value.func) != "NewType":
        return "..."
    for node in ast.walk(value):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated":
            assert isinstance(node.slice, ast.Tuple)
            node.slice.elts[1:] = [ast.Constant(...)]
    return ast.unparse(value)


def defined_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    if isinstance(node, ast.Assign):
        return [ast.unparse(node.targets[0])]
    return []


def interface(program: Combination) -> Iterator[str]:
    """Yield each name that may be used, with its signature."""
    known = modules(program)
    for module, names in used_names(program).items():
        for node in ast.parse(known[module].read_text()).body:
            for name in set(defined_names(node)) & names:
                for line in signature(node):
                    is_member = re.match(r"\.\w", line)
                    yield f"{module}.{name}{'' if is_member else ': '}{line}"


def declaration() -> str:
    """Return the interface of all programs: the part of all of them, and that of each choice."""
    remaining: dict[str, set[int]] = defaultdict(set)
    for number, program in enumerate(PROGRAMS):
        for line in interface(program):
            remaining[line].add(number)
    parts = []
    for values in sorted(
        product(*([None, *CHOICES[choice]] for choice in CODE)),
        key=lambda values: (sum(value is not None for value in values), *map(str, values)),
    ):
        chosen = [value for value in values if value]
        having = {n for n, program in enumerate(PROGRAMS) if {*chosen} <= {*program.values()}}
        lines = sorted(line for line, programs in remaining.items() if having <= programs)
        for line in lines:
            remaining[line] -= having
        if lines:
            title = " and ".join(chosen) or "every project"
            parts.append(f"[{title}]\n" + "".join(f"{line}\n" for line in lines))
    return "\n".join(parts)


if __name__ == "__main__":
    print(declaration(), end="")
