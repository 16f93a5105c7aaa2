"""Entity tags: the version of what is answered (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from collections.abc import Sequence

TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS = re.compile(rf"[ \t,]*{TAG}(?:[ \t]*,[ \t,]*{TAG})*[ \t,]*")
VERSION = re.compile(r'"([1-9][0-9]{0,9})"')
MAX_VERSION = 2**31 - 1  # PostgreSQL's integer


def etag(version: int) -> str:
    return f'"{version}"'


def versions(lines: Sequence[str] | None) -> list[int] | None:
    """Read the versions named by the lines of an If-Match or If-None-Match header.

    None where there is no line, or a `*`: any version matches. Empty where one is malformed: none
    does. A `W/` is ignored: nginx weakens the tags of what it compresses. (Written by hand
    because the libraries that read these, such as werkzeug, let malformed ones pass.)
    """
    value = ", ".join(lines or ())
    if not lines or value.strip() == "*":
        return None
    if not TAGS.fullmatch(value):
        return []
    named = (int(version) for version in VERSION.findall(value))
    return [version for version in named if version <= MAX_VERSION]
