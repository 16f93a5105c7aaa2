"""Why a bound is not met, by its key, with the profile that says so; docs/performance.md shows it."""

SERVICE = """\
callgrind's kin (`valgrind --tool=cachegrind`, in process, 8 users, uvloop, without the server) counts 373,000
instructions of the floor and 513,000 of the service, 1.37 times as many: 34,000 of the difference for the log
line, 41,000 for what pydantic does beyond orjson with the path and the answer, 12,000 for the gauges of the
pool, 10,000 for the metrics of the request; the rest are the loan of the connection, the statement's
parameters, the client's own timer of the statement, the entity tag, the checks of the body. None of these is
left out in production. The time is more than that because of the log line, too: it is written as soon as it
is known, or a service that is killed would keep its last ones to itself. In one run beside the floor the
service was at 1.57, and at 1.49 when its lines stayed in Python's buffer; in another at 1.50, and without the
line at 1.33. A system call in the middle of Python's work costs 0.08 of the floor, many times what it costs
in a loop of its own. So 1.35 is what this service takes without its log, and with it 1.5. It was 807,000
instructions before the asyncpg pool's reset, a middleware for request ids, the labels of metrics looked up at
each request, the time as text, frozen dataclasses, a timer at each checkout, generators as context managers
and five of structlog's processors were taken out."""
STARLETTE_SESSION = """\
The figure is at its bound, within what these rounds spread: other runs of the same programs gave 0.57 to
0.61. Counted as above, 1,179,000 instructions instead of the peer's 1,921,000 (0.61). It was 1,741,000 before
the driver was told to autocommit, instead of an option of the engine that is set at each checkout and back at
each release; before statements were made once, whose cache keys SQLAlchemy remembers; before a session whose
work is done was closed without a task of its own, and before loans were classes instead of generators. Of
the rest an empty Session that takes its connection from the pool and gives it back is 343,000, and a row of a
mapped class 500,000."""
FASTAPI_SESSION = """\
Counted as above, FastAPI itself takes 365,000 instructions: its floor's 738,000 less the 373,000 of Starlette's.
An empty Session and a row of a mapped class take 843,000 more. That is 1,208,000 with nothing else, and 0.6
of the peer are 1,152,000. So this bound is out of reach by what the libraries take alone. The service takes
1,663,000 (0.87), with its log, metrics, limits, timeouts and entity tags, of which the peer has none."""
PEER = """\
The figure is at its bound, within what these rounds spread."""

UNMET: dict[str, str] = {
    "read one, starlette-core-asyncpg, floors/starlette-asyncpg": SERVICE,
    "read one, starlette-orm-asyncpg, peers/fastapi-session": STARLETTE_SESSION,
    "read one, fastapi-orm-asyncpg, peers/fastapi-session": FASTAPI_SESSION,
    "list 10, fastapi-core-asyncpg, peers/fastapi-session": PEER,
}
