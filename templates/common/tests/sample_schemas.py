"""The JSON of samples: models with every type of `fields.py`."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from service.fields import (
    Digits,
    Flag,
    Id,
    Json,
    JsonObject,
    Limit,
    NotNull,
    Text,
)

Slug = Annotated[Text, Field(min_length=2, max_length=9, pattern="^[a-z-]+$")]


class NewSample(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: Literal["new", "used"]
    data: Json


class Sample(NewSample):
    id: UUID


class EchoQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Id], Field(max_length=3, alias="id")] = []
    offset: Annotated[int, Field(ge=0, le=9), Digits] = 0
    limit: Limit = 50
    done: NotNull[Flag] = None


class Size(BaseModel):
    """The names in JSON are not those in Python."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    max_width: Id


class Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: NotNull[Text] = None
    slug: NotNull[Slug] = None
    owner: NotNull[Id] = None
    attributes: NotNull[JsonObject] = None
    size: NotNull[Size] = None
    data: Json = None


class Echo(BaseModel):
    number: int
    query: EchoQuery
    change: Change
