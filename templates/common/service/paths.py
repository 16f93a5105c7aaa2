"""Paths of resources, for `Location` and for links."""

from contextvars import ContextVar
from urllib.parse import quote

# What a proxy removes from the start of each path: the server's `--root-path`, such as /api.
root_path: ContextVar[str] = ContextVar("root_path", default="")


def set_root_path(path: str) -> None:
    """Set `root_path`, with the slashes and escapes that it needs: "api/" is /api."""
    prefix = quote(path.strip("/"), safe="/%")
    root_path.set(f"/{prefix}" if prefix else "")


def path_to(*segments: object) -> str:
    """Return a path whose segments are quoted: `path_to("cities", "Köln")` is /cities/K%C3%B6ln.

    It begins with `root_path`, because it is for callers, who are in front of the proxy. A header
    cannot hold every character: unquoted, such a key would be a 500 after the commit.
    """
    return root_path.get() + "".join(f"/{quote(str(segment), safe='')}" for segment in segments)
