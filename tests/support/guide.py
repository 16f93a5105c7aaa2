"""Follow a guide of a rendered project: write its files, make its changes, run its commands."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Block(NamedTuple):
    language: str
    title: str | None
    content: str


def blocks(guide: str) -> Iterator[Block]:
    """Yield the fenced blocks of a guide, in their order."""
    pattern = r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$'
    for language, title, content in re.findall(pattern, guide, re.MULTILINE | re.DOTALL):
        yield Block(language, title or None, content)


def follow(guide: str, project: Path, run: Callable[[str], object]) -> None:
    """Do what a guide says, block by block. run: runs a block of commands in the project."""
    for block in blocks(guide):
        if block.language == "sh":
            run(block.content)
        else:
            apply(block, project)


def apply(block: Block, project: Path) -> None:
    """Write or change the file that a block has as its title."""
    assert block.title, f"code without a file: {block.content}"
    file = project / block.title
    if block.language == "diff":
        file.write_text(changed(file.read_text(), block))
    else:
        assert not file.exists(), f"{block.title} exists already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.content)


def changed(text: str, diff: Block) -> str:
    lines = diff.content.splitlines(keepends=True)
    assert all(line[0] in " +-\n" for line in lines), diff
    before = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
    after = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
    occurrences = f"\n{text}".count(f"\n{before}")
    assert occurrences == 1, f"{diff.title} has these lines {occurrences} times:\n{before}"
    return f"\n{text}".replace(f"\n{before}", f"\n{after}")[1:]
