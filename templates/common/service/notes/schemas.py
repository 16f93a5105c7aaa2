"""The JSON that requests carry and that answers carry."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from ..etags import MAX_VERSION

# The operations on a new note, by the names of their handlers.
LINKS: dict[str, Any] = {
    name: {"operationId": f"notes-{name}", "parameters": {"note_id": "$response.body#/id"}}
    for name in ("get_note", "change_note", "delete_note", "list_revisions", "synchronize_note")
}
WHOLE = re.compile(r"-?[0-9]{1,20}", re.ASCII)
BIGINT_END = 2**63  # the first integer that a bigint cannot hold; a float holds it exactly


def without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters, which PostgreSQL cannot store")
    return text


def not_null(value: object) -> object:
    if value is None:
        raise ValueError("must not be null: leave it out to keep it as it is")
    return value


def not_nullable(schema: dict[str, Any]) -> None:
    """Describe a field that may be left out but must not be null."""
    del schema["default"]
    schema.update(schema.pop("anyOf")[0])


def digits(value: object) -> object:
    """Refuse the numbers that Python reads but the API does not describe: 1_0, 1.0, ' 1'."""
    if isinstance(value, str) and not WHOLE.fullmatch(value):
        raise ValueError("must be a whole number, written in digits")
    return value


def true_or_false(value: object) -> object:
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value


NO_NUL = Field(json_schema_extra={"not": {"pattern": r"\u0000"}})
Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(without_nul), NO_NUL]
Body = Annotated[str, Field(max_length=100_000), AfterValidator(without_nul), NO_NUL]
OPTIONAL = Field(json_schema_extra=not_nullable)
Whole = BeforeValidator(digits)
NoteId = Annotated[int, Field(ge=1, lt=BIGINT_END), Whole]
Limit = Annotated[int, Field(ge=1, le=100), Whole]


class NewNote(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Title
    body: Body = ""


class NoteChange(BaseModel):
    """A change of a note; a field that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    title: Annotated[Title | None, BeforeValidator(not_null), OPTIONAL] = None
    body: Annotated[Body | None, BeforeValidator(not_null), OPTIONAL] = None

    @model_validator(mode="after")
    def require_a_field(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("changes nothing: give a title, a body or both")
        return self


class Content(BaseModel):
    """The answer of the upstream; fields that we do not need are ignored."""

    title: Title
    body: Body


class Note(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    body: str
    version: int
    created_at: datetime
    updated_at: datetime
    synchronized_at: datetime | None


class Revision(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    note_id: int
    version: int
    title: str
    body: str
    created_at: datetime


class NoteQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Limit = 50
    after: Annotated[int, Field(ge=0, lt=BIGINT_END), Whole] = 0
    synchronized: Annotated[bool | SkipJsonSchema[None], BeforeValidator(true_or_false)] = None


class RevisionQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Limit = 50
    before: Annotated[int, Field(ge=1, le=MAX_VERSION), Whole] = MAX_VERSION


class NotePage(BaseModel):
    items: list[Note]
    next: str | None = Field(description="Path of the next page; null on the last one.")

    @classmethod
    def of(cls, notes: Sequence[object], query: NoteQuery) -> Self:
        """Return a page of `query.limit` notes; one note more means that there is a next page."""
        page = cls.model_validate({"items": notes[: query.limit], "next": None})
        if len(notes) > query.limit:
            page.next = f"/notes?limit={query.limit}&after={page.items[-1].id}"
            if query.synchronized is not None:
                page.next += f"&synchronized={str(query.synchronized).lower()}"
        return page


class RevisionPage(BaseModel):
    items: list[Revision]
    next: str | None = Field(description="Path of the next page; null on the last one.")

    @classmethod
    def of(cls, revisions: Sequence[object], note_id: int, query: RevisionQuery) -> Self:
        """Return a page of `query.limit` revisions; one more means that there is a next page."""
        page = cls.model_validate({"items": revisions[: query.limit], "next": None})
        if len(revisions) > query.limit:
            parameters = f"limit={query.limit}&before={page.items[-1].version}"
            page.next = f"/notes/{note_id}/revisions?{parameters}"
        return page
