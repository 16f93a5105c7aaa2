"""The JSON of the baselines and alternatives on FastAPI: that of the service, without its limits."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class NewNote(BaseModel):
    title: str
    body: str = ""


class NoteChange(BaseModel):
    title: str | None = None
    body: str | None = None


class Content(BaseModel):
    title: str
    body: str


class Note(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    body: str
    version: int
    created_at: datetime
    updated_at: datetime
    synchronized_at: datetime | None


class NotePage(BaseModel):
    items: list[Note]
    next: str | None
