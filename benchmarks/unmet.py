"""Why a bound is not met, by its key, with the profile that says so; docs/performance.md shows it."""

SERVICE = """\
callgrind's kin (`valgrind --tool=cachegrind`, in process, uvloop, without the server) counts 347,000
instructions of the floor on Starlette and 548,000 of the service (533,000 since, with lighter gauges and a
plain function that writes the JSON). Of the difference the log line takes 43,000, what pydantic does beyond
orjson with the answer 26,000 and with the path 15,000, the gauges of the pool 12,000, the metrics of the
request 10,000, `Unexpected` 8,000, `WholeBody` 6,000; the rest are the two context managers, the statement's
parameters, the client's own timer of the statement, the entity tag.
None of these is left out in production. It was 819 function calls and 807,000 instructions before the asyncpg
pool's reset, a middleware for request ids, the labels of metrics looked up at each request, the time as
text, frozen dataclasses and a timer at each checkout were taken out. The spread above is that of a
machine whose neighbours work, too."""
SESSION = """\
What a Session costs is nearly all of it. Counted as above, with the whole request: 1,869,000 instructions in
the peer; in the service 1,741,000 on Starlette when the figure above was measured, **1,233,000 (0.66) since,
and 1,659,000 (0.89) on FastAPI**. A run of `python -m benchmarks compare` on the mended templates, beside
noise, gave 0.63 and 0.89 of the peer's CPU time. What was mended: the option AUTOCOMMIT of an engine is set at
each checkout and back at each release, which took 260,000 instructions, more than the round trips that it
saves; the driver is told instead. Statements are made once, so SQLAlchemy remembers their cache keys (175,000),
and a Session whose work is done is closed without a task of its own (40,000). Of the rest an empty Session
that takes its connection from the pool and gives it back is 343,000, and a row of a mapped class 500,000, of
which Core on the same connection would need 310,000. To 0.6 another 110,000 are missing on Starlette and
540,000 on FastAPI, which is 425,000 more itself; where they could be saved has not been found yet."""
DATABASES = """\
The floor has no log, no metrics, no limits (see above, about 200,000 instructions), and hands rows over as
they are. Mapped classes are made from each row by SQLAlchemy's instrumentation: on Starlette 1,228 function
calls instead of 971."""

PEER = """\
The figure is at its bound, within what these rounds spread."""
CROWD = """\
Some combinations were measured while another process had a CPU of this machine for itself; the others
reach 97 to 100 %."""

UNMET: dict[str, str] = {
    "read one, starlette-core-asyncpg, floors/starlette-asyncpg": SERVICE,
    "read one, fastapi-core-asyncpg, floors/fastapi-asyncpg": SERVICE,
    "list 10, starlette-core-asyncpg, floors/starlette-asyncpg": SERVICE,
    "list 10, fastapi-core-asyncpg, floors/fastapi-asyncpg": SERVICE,
    "read one, starlette-orm-asyncpg, peers/fastapi-session": SESSION,
    "read one, fastapi-orm-asyncpg, peers/fastapi-session": SESSION,
    "read one, starlette-core-databases, floors/starlette-databases": DATABASES,
    "read one, starlette-orm-databases, floors/starlette-databases": DATABASES,
    "read one, fastapi-core-databases, floors/fastapi-databases": DATABASES,
    "read one, fastapi-orm-databases, floors/fastapi-databases": DATABASES,
    "list 10, fastapi-core-asyncpg, peers/fastapi-session": PEER,
    "crowd": CROWD,
}
