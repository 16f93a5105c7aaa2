"""The domains of this service: a folder each, beside this file, found by what is in it."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any


def domains(module: str) -> Iterator[Any]:
    """Import `module` (such as "routes") of every domain that has one, in alphabetical order.

    So a domain is added, and removed, with its folder.
    """
    package = __package__
    assert package is not None
    for folder in sorted(import_module(package).__path__):
        for path in sorted(Path(folder).glob(f"*/{module}.py")):
            yield import_module(f".{path.parent.name}.{module}", package)
