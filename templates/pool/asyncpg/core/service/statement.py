"""`Statement`: a Core statement that is compiled once, for asyncpg's methods."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ARRAY, BindParameter, ClauseElement, Enum, Float, Update
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import ReturnsRows
from sqlalchemy.sql.visitors import iterate
from sqlalchemy.types import TypeEngine

DIALECT = dialect(dbapi=dialect.import_dbapi())  # type: ignore[no-untyped-call]
FLOAT8, NUMERIC = 701, 1700  # PostgreSQL's type OIDs


class Statement:
    """A Core statement, compiled once, whose call returns the arguments of asyncpg's methods.

        GET = Statement(select(users).where(users.c.id == bindparam("user_id")))
        row = await connection.fetchrow(*GET(user_id=1))

    Values that are bound are converted by the types of their columns. The records are asyncpg's own,
    so a result that its type would convert, such as a Python enum, is refused with a TypeError. Also
    refused: a column default in Python and a list for `IN`, which need a compilation for each call.
    """

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=DIALECT)
        assert isinstance(compiled, SQLCompiler)
        self._sql = compiled.string
        if compiled.prefetch:
            names = ", ".join(column.name for column in compiled.prefetch)
            raise TypeError(f"use a server_default, or bind a value, for {names}: {self._sql}")
        for parameter in compiled.post_compile_params:
            array = f'any_(cast(bindparam("values"), ARRAY({parameter.type!r})))'
            raise TypeError(f"instead of IN, compare with `== {array}`: {self._sql}")
        if isinstance(statement, Update) and statement.whereclause is not None:
            refuse_equal_names(statement, statement.whereclause)
        if isinstance(statement, ReturnsRows):
            for column in statement.exported_columns:
                refuse_conversion(column.key, column.type)
        self._order = tuple(compiled.positiontup or ())
        processors = {
            name: parameter.type.dialect_impl(DIALECT).bind_processor(DIALECT)
            for parameter, name in compiled.bind_names.items()
        }
        constants = {
            name for parameter, name in compiled.bind_names.items() if not parameter.required
        }
        self._names = frozenset(self._order) - constants
        self._processors = {
            name: processor
            for name, processor in processors.items()
            if processor and name in self._names
        }
        # Values of the statement itself, such as the 1 of `version + 1`.
        self._constants = {
            name: processor(value) if (processor := processors[name]) else value
            for name, value in compiled.params.items()
            if name in constants
        }

    def __call__(self, **values: object) -> tuple[Any, ...]:
        """Bind `values` by name. Raises TypeError if one is unknown or missing."""
        return self._sql, *self._bind(values)

    def many(self, rows: Iterable[Mapping[str, object]]) -> tuple[str, list[list[Any]]]:
        """Bind each of `rows` as a call does. Returns the arguments of asyncpg's `executemany`."""
        return self._sql, [self._bind(row) for row in rows]

    def _bind(self, values: Mapping[str, object]) -> list[Any]:
        if values.keys() != self._names:
            raise TypeError(
                f"the statement takes {sorted(self._names)}, not {sorted(values)}: {self._sql}"
            )
        bound = {**values, **self._constants}
        for name, processor in self._processors.items():
            bound[name] = processor(bound[name])
        return [bound[name] for name in self._order]


def refuse_equal_names(statement: Update, condition: ClauseElement) -> None:
    """Raise a TypeError if a new value has the name of a parameter in the condition."""
    values = {value.key for value in statement.get_children() if isinstance(value, BindParameter)}
    for parameter in iterate(condition):
        if isinstance(parameter, BindParameter) and (name := parameter.key) in values:
            raise TypeError(
                f"`{name}` is a new value: name it otherwise in the condition, such as `old_{name}`"
            )


def refuse_conversion(name: str | None, column_type: TypeEngine[Any]) -> None:
    """Raise a TypeError if SQLAlchemy would convert the values of a result column in Python."""
    implementation = column_type.dialect_impl(DIALECT)
    if isinstance(implementation, ARRAY):
        return refuse_conversion(name, implementation.item_type)
    if isinstance(implementation, Enum) and implementation.enum_class is None:
        return  # the values are strings, as they are stored
    oid = FLOAT8 if isinstance(implementation, Float) else NUMERIC
    if implementation.result_processor(DIALECT, oid):
        raise TypeError(
            f"asyncpg returns {name} as it is stored, without the conversion of {column_type!r}:"
            " select `type_coerce(column, Text)` instead, and convert the value where you read it"
        )
