"""Fields of log lines, whose values can be anything."""

from math import isfinite
from typing import Any

import orjson
from structlog.typing import EventDict

DEEPEST = 50  # levels of lists and dictionaries in a line; what is deeper is written as its repr


def set_field(event: EventDict, name: str, value: object) -> None:
    """Set a field. If there is one of this name already, that one gets an underscore at its end."""
    if name in event:
        set_field(event, f"{name}_", event[name])
    event[name] = value


def safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: its repr raises {type(error).__name__}>"


def to_json_value(value: Any, parents: tuple[int, ...] = ()) -> Any:
    """Return `value` as JSON can hold it. What JSON does not have is replaced by its repr.

    parents: the ids of the lists and dictionaries around `value`, which it may contain again.
    """
    cls = type(value)  # `isinstance` would ask the value, which may be a proxy of something else
    if value is None or cls is bool or (cls is int and value.bit_length() < 64):
        return value  # These are the most common ones, and the last step is slow.
    if cls is float:
        return value if isfinite(value) else repr(value)  # orjson would write null
    if issubclass(cls, str):  # It may have halves of surrogate pairs.
        return str.encode(value, errors="backslashreplace").decode()
    if issubclass(cls, dict | list) or cls is tuple:
        if id(value) in parents or len(parents) == DEEPEST:
            return to_json_value(safe_repr(value))
        parents = (*parents, id(value))
        if not issubclass(cls, dict):
            return [to_json_value(item, parents) for item in value]
        fields: dict[str, object] = {}
        for key, item in value.items():
            set_field(fields, str(to_json_value(key)), to_json_value(item, parents))
        return fields
    try:
        # orjson has a form for dates, UUIDs, members of an Enum and dataclasses.
        return orjson.loads(orjson.dumps(value, default=safe_repr, option=orjson.OPT_UTC_Z))
    except Exception:
        return to_json_value(safe_repr(value))
