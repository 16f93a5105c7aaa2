"""Why a bound is missed, by its key, for docs/performance.md."""

CORE = """
`RequestLogMiddleware` (the request id, the metrics and the log line) is the largest part: about half of
what the service needs more than the baseline, see "What each part costs" below. The other half is many
small parts: the place in the queue for a connection with its timeout, the metrics of the pool, the
checks of path and body, the model of the answer. The version before traces and the metrics of the
database misses these bounds on this machine, too. It was measured twice, in turns with this one. For
reading one note with Starlette it needed 1.75 and 1.79 times the CPU of the baseline, and this one 1.79
and 1.89 times. With FastAPI it needed 1.45 and 1.46 times, and this one 1.46 and 1.50 times.
"""
ORM = """
The service opens an `AsyncSession` for each block, on a connection of SQLAlchemy's own pool, as
SQLAlchemy documents it. An earlier version reused sessions and connections through private attributes,
and needed about a third less CPU. The simpler code stays. With FastAPI the ratio is worse, because
FastAPI's own part of the request is the same in both programs.
"""
LISTS = """
Bare FastAPI on asyncpg alone needs a third of what `alternatives/fastapi-session` needs, so a fifteenth
is left for everything that the service adds.
"""
ORM_OF_DATABASES = """
Every request builds and compiles its statement, as users of `databases` write it. A statement on a
mapped class takes longer to compile than the baseline's statement on a table.
"""
SESSION = "alternatives/fastapi-session"
STARLETTE, FASTAPI = "baselines/starlette-asyncpg", "baselines/fastapi-asyncpg"

MISSED_BOUNDS: dict[str, str] = {
    f"read one, starlette-core-asyncpg, {STARLETTE}": CORE,
    f"read one, fastapi-core-asyncpg, {FASTAPI}": CORE,
    f"list 10, starlette-core-asyncpg, {STARLETTE}": CORE,
    f"read one, starlette-orm-asyncpg, {SESSION}": ORM,
    f"read one, fastapi-orm-asyncpg, {SESSION}": ORM,
    f"list 10, fastapi-core-asyncpg, {SESSION}": LISTS,
    f"change one, fastapi-orm-asyncpg, {SESSION}": ORM,
    "read one, fastapi-orm-databases, baselines/fastapi-databases": ORM_OF_DATABASES,
    "read one, starlette-orm-databases, baselines/starlette-databases": ORM_OF_DATABASES,
}
