"""Why a bound is missed, by its key, with the profile that shows it, for docs/performance.md."""

CORE = """
A second run of this pair on the same day, of 15 rounds, measured 1.41x. The machine was about
three times slower than when the version before was measured, and its rounds differ by a third. The service calls 578 functions for
this request (`tests/test_costs.py`), of which asyncpg's own pool, its timeouts and the router are most.
"""
ORM_OF_FASTAPI = """
The service opens an `AsyncSession` for each block, on a connection of SQLAlchemy's own pool, as
SQLAlchemy documents it. An earlier version reused sessions and connections through private attributes,
and needed about a third less CPU. The simpler code stays. FastAPI's own part of the request, which is
the same in both programs, makes the ratio worse than with Starlette.
"""
ORM_OF_DATABASES = """
Every request builds and compiles its statement, as users of `databases` write it. A statement on a
mapped class takes longer to compile than the baseline's statement on a table.
"""
CROWD = """
The CPU was the limit, not the connections: 200 requests per second leave one worker 5 ms of CPU for
each. The machine was about three times slower than when the version before was measured, and the ORM
and `databases` needed 6 to 8 ms there. With Core on asyncpg it answered 197 (FastAPI) and 200 (Starlette) requests per second.
"""
SESSION = "alternatives/fastapi-session"

MISSED_BOUNDS: dict[str, str] = {
    "read one, starlette-core-asyncpg, baselines/starlette-asyncpg": CORE,
    f"read one, fastapi-orm-asyncpg, {SESSION}": ORM_OF_FASTAPI,
    f"change one, fastapi-orm-asyncpg, {SESSION}": ORM_OF_FASTAPI,
    "read one, fastapi-orm-databases, baselines/fastapi-databases": ORM_OF_DATABASES,
    "read one, starlette-orm-databases, baselines/starlette-databases": ORM_OF_DATABASES,
    "crowd": CROWD,
}
