"""Types of fields: what a request may carry, and what the schema says about it."""

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from service.fields import Digits, Flag, Id, Json, Limit, NotNull, Text

Slug = Annotated[Text, Field(min_length=2, max_length=9, pattern="^[a-z-]+$")]
Page = Annotated[int, Field(ge=0, le=9), Digits]


class Change(BaseModel):
    name: NotNull[Slug] = None
    done: NotNull[Flag] = None


def accepts(field: Any, value: object) -> bool:
    try:
        TypeAdapter(field).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("field", "valid", "invalid"),
    [
        (Text, ["", "a", "\U0001f600\n"], ["a\0", "\ud800", 1, None]),
        (Slug, ["ab", "a-b"], ["a", "a" * 10, "Ab", "a\0", "ab\n"]),
        (Id, ["1", 1, 2**63 - 1], ["0", 0, 2**63, "1_0", " 1", "1.0", "٣", True]),
        (list[Id], [[], ["1", "2"]], [["1", "0"], ["1", True]]),
        (Limit, ["1", 100], ["0", "101", "", "-1"]),
        (Page, ["0", "9"], ["-1", "10", "x", "9" * 5000]),
        (Flag, [True, False, "true", "false"], [0, 1, "1", "on", "True", None]),
    ],
)
def test_field_accepts_only_what_can_be_stored(
    field: Any, valid: list[object], invalid: list[object]
) -> None:
    assert [value for value in valid if not accepts(field, value)] == []
    assert [value for value in invalid if accepts(field, value)] == []


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        '{"": {"a": [1, 1.5, -0.0, true, null, "\\u00e9\\ud83d\\ude00\\\\u0000"]}}',
        "9" * 100,
        "[" * 200 + "]" * 200,
    ],
)
def test_json_accepts_json(text: str) -> None:
    value = json.loads(text)
    stored = TypeAdapter[object](Json).validate_python(value)
    assert json.dumps(stored) == json.dumps(value)


@pytest.mark.parametrize(
    "part",
    ["NaN", "-Infinity", "1e999", '"a\\u0000b"', '"\\ud800"', '{"\\u0000": 1}', '{"a\\udfff": 1}'],
)
@pytest.mark.parametrize("text", ["PART", '{"a": [1, {"b": PART}]}'])
def test_json_refuses_what_jsonb_cannot_hold(text: str, part: str) -> None:
    assert not accepts(Json, json.loads(text.replace("PART", part)))


def test_json_refuses_what_is_nested_too_deeply() -> None:
    assert not accepts(Json, json.loads("[" * 400 + "]" * 400))


def test_field_that_may_be_left_out_is_not_null() -> None:
    assert Change() == Change.model_construct(name=None, done=None)
    assert Change(name="ab").model_fields_set == {"name"}
    for field in ("name", "done"):
        with pytest.raises(ValidationError, match="must not be null"):
            Change.model_validate({field: None})
