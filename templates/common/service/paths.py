"""Paths of resources, for `Location` and for links."""

from urllib.parse import quote


def path_to(*segments: object) -> str:
    """Return a path whose segments are quoted: `path_to("cities", "Köln")` is /cities/K%C3%B6ln.

    A header cannot hold every character: unquoted, such a key would be a 500 after the commit.
    """
    return "".join(f"/{quote(str(segment), safe='')}" for segment in segments)
