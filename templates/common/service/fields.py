"""Types of fields: what a request may carry so that PostgreSQL can store it.

They are types for models of pydantic, and `Annotated` narrows them: a name of at most 100
characters is `Annotated[Text, Field(max_length=100)]`.
"""

import re
from math import isfinite
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

Value = TypeVar("Value")

NO_NUL = r"^[^\x00]*$"
BIGINT_END = 2**63  # the first number that a bigint cannot hold


def refuse_all_but_whole_numbers(value: object) -> object:
    """Refuse what pydantic reads as an int, but the API does not describe: 1_0, ' 1', '1.0', true."""
    is_other_text = isinstance(value, str) and not re.fullmatch("-?[0-9]+", value)
    if is_other_text or isinstance(value, bool):
        raise ValueError("must be a whole number, written in digits")
    return value


def refuse_all_but_true_and_false(value: object) -> object:
    """Refuse what pydantic reads as a bool, but the API does not describe: 1, 'on', 'no'."""
    if not isinstance(value, bool) and value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value


def refuse_what_bigint_cannot_hold(value: int) -> int:
    if value >= BIGINT_END:
        raise ValueError("must fit into a bigint")
    return value


def refuse_null(value: object) -> object:
    if value is None:
        raise ValueError("must not be null: leave it out to keep it as it is")
    return value


def describe_without_null(schema: dict[str, Any]) -> None:
    if schema.get("default", ...) is None:
        del schema["default"]
    types = [each for each in schema.pop("anyOf") if each != {"type": "null"}]
    schema.update(types[0] if len(types) == 1 else {"anyOf": types})


def describe_without_nul(schema: dict[str, Any]) -> None:
    """Describe NO_NUL in a way that generators of tests can satisfy quickly."""
    if schema.get("pattern") == NO_NUL:
        del schema["pattern"]
    schema["not"] = {"pattern": r"\u0000"}


def refuse_what_jsonb_cannot_hold(value: JsonValue) -> JsonValue:
    """Look at every string, key and number in `value`, however deep."""
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            parts.extend([*part.keys(), *part.values()])
        elif isinstance(part, list):
            parts.extend(part)
        elif isinstance(part, float) and not isfinite(part):
            raise ValueError("must not contain NaN or a number too large for a float")
        elif isinstance(part, str) and ("\0" in part or not is_unicode(part)):
            raise ValueError("must not contain NUL characters or halves of surrogate pairs")
    return value


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Text without NUL characters, which PostgreSQL cannot store. A pattern of your own replaces this
# one, so it must not match NUL either: `^[a-z-]+$` does not. (PostgreSQL would refuse it: 422.)
Text = Annotated[str, Field(pattern=NO_NUL, json_schema_extra=describe_without_nul)]

# For whole numbers. It is the last part of `Annotated[int, Field(ge=0, le=9), Digits]`: before the
# limits, it would hide them from the schema. A string of digits passes, too, in a body as well.
Digits = BeforeValidator(refuse_all_but_whole_numbers)

# The key of a row: a bigint of 1 or more. The schema says so by its format, because JSON readers
# that take numbers for floats round the largest bigint up.
Id = Annotated[
    int,
    Field(ge=1, json_schema_extra={"format": "int64"}),
    AfterValidator(refuse_what_bigint_cannot_hold),
    Digits,
]

# How many items a page has at most.
Limit = Annotated[int, Field(ge=1, le=100), Digits]

# True or false, in a query, too.
Flag = Annotated[bool, BeforeValidator(refuse_all_but_true_and_false)]

# A field that may be left out, and is None then, but must not be null: `name: NotNull[Text] = None`.
# Not for Json, to which null is a value: look for the field's name in `model_fields_set`.
NotNull = Annotated[
    Value | None, BeforeValidator(refuse_null), Field(json_schema_extra=describe_without_null)
]

# What a column of the type JSONB holds: any JSON without NUL characters and lone surrogates, in
# about 250 levels, which is the limit of pydantic.
Json = Annotated[JsonValue, AfterValidator(refuse_what_jsonb_cannot_hold)]

# A JSON object, for a column of the type JSONB.
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(refuse_what_jsonb_cannot_hold)]
