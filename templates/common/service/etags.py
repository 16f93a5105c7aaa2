"""Entity tags: the version of an answer (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from collections.abc import Sequence

TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS = re.compile(rf"[ \t,]*{TAG}(?:[ \t]*,[ \t,]*{TAG})*[ \t,]*")
VERSION = re.compile(r'"([1-9][0-9]{0,9})"')
MAX_VERSION = 2**31 - 1  # PostgreSQL's integer


def etag(version: int) -> str:
    return f'"{version}"'


def versions(lines: Sequence[str] | None) -> list[int] | None:
    """Return the versions that the lines of an If-Match or If-None-Match header name.

    None means that every version matches: there is no line, or it is a `*`. An empty list means
    that no version matches: the header is malformed, for example. A `W/` is ignored, because nginx
    weakens the tags of the answers that it compresses. (The libraries that parse these headers,
    such as werkzeug, accept malformed ones.)
    """
    value = ", ".join(lines or ())
    if not lines or value.strip() == "*":
        return None
    if not TAGS.fullmatch(value):
        return []
    numbers = (int(version) for version in VERSION.findall(value))
    return [number for number in numbers if number <= MAX_VERSION]


def is_known(version: int, lines: Sequence[str] | None) -> bool:
    """Return whether the lines of an If-None-Match header name this version, or every one."""
    known = versions(lines)
    return bool(lines) and (known is None or version in known)
