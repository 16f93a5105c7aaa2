"""The JSON that requests carry and that answers carry."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..etags import MAX_VERSION
from ..fields import BIGINT_END, Digits, Flag, Limit, NotNull, Text
from ..paths import path_to

# The operations on a new note, by the names of their handlers.
LINKS: dict[str, Any] = {
    name: {"operationId": f"notes-{name}", "parameters": {"note_id": "$response.body#/id"}}
    for name in ("get_note", "change_note", "delete_note", "list_revisions", "synchronize_note")
}

Title = Annotated[Text, Field(min_length=1, max_length=200)]
Body = Annotated[Text, Field(max_length=100_000)]


class NewNote(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Title
    body: Body = ""


class NoteChange(BaseModel):
    """A change of a note; a field that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    title: NotNull[Title] = None
    body: NotNull[Body] = None

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
    after: Annotated[int, Field(ge=0, lt=BIGINT_END), Digits] = 0
    synchronized: NotNull[Flag] = None


class RevisionQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Limit = 50
    before: Annotated[int, Field(ge=1, le=MAX_VERSION), Digits] = MAX_VERSION


class NotePage(BaseModel):
    items: list[Note]
    next: str | None = Field(description="Path of the next page; null on the last one.")

    @classmethod
    def of(cls, notes: Sequence[object], query: NoteQuery) -> Self:
        """Return a page of `query.limit` notes; one note more means that there is a next page."""
        page = cls.model_validate({"items": notes[: query.limit], "next": None})
        if len(notes) > query.limit:
            page.next = f"{path_to('notes')}?limit={query.limit}&after={page.items[-1].id}"
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
            page.next = f"{path_to('notes', note_id, 'revisions')}?{parameters}"
        return page
