"""Users who write and read while a fault happens, and the comparison of what they were answered.

Everything that a user writes is a token that was never written before. So the answers and the
database show for each token whether it was acknowledged, and whether it is stored.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from tests.support.postgres import PostgresServer
from tests.support.upstream import UpstreamStub
from tests.support.waiting import cancel, until

PATIENCE = 20.0  # seconds, after which a request counts as never answered
USERS = 10


class RecordingUpstream(UpstreamStub):
    """Answers a note with a new token as its body, and records every call."""

    def __init__(self) -> None:
        super().__init__(self._answer_with_token)
        self.calls: Counter[str] = Counter()  # by request id
        self.tokens: dict[str, str] = {}  # by request id
        self.before_answer: dict[int, Callable[[], Awaitable[object]]] = {}  # by note id

    async def _answer_with_token(self, note: dict[str, Any], request_id: str) -> dict[str, Any]:
        self.calls[request_id] += 1
        if before_answer := self.before_answer.get(note["id"]):
            await before_answer()
        self.tokens[request_id] = token = uuid4().hex
        return {"title": note["title"], "body": token}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class HttpConnection:
    """An HTTP connection of one user, which is opened again when it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: object = None, request: str = "") -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        content = b"" if body is None else json.dumps(body).encode()
        self._writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {request}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await self._writer.drain()

    async def receive(self) -> Answer:
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        content = await self._reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(status.split()[1]), headers, content)

    async def ask(self, method: str, path: str, body: object = None, request: str = "") -> Answer:
        """Send a request and return its answer.

        Raises OSError or EOFError if the connection is lost meanwhile.
        """
        try:
            await self.send(method, path, body, request)
            return await self.receive()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._writer:
            self._writer.close()
        self._writer = None


@dataclass
class Users:
    """Users who write and read all the time, and record every answer."""

    port: int
    upstream: RecordingUpstream
    sent: int = 0
    refused: int = 0
    conflicts: int = 0
    lost_answers: int = 0  # of a worker that was killed
    may_lose_answers: bool = False
    busy: bool = False  # whether users ask again without a pause
    longest_refusal: float = 0  # seconds for each transaction of the request
    last_refusal: float = 0  # its time
    reads_refused: int = 0
    # Tokens. What became of the doubtful ones is unknown; the rejected ones must not be stored.
    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)  # note id and version
    doubtful: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    last_write: dict[int, float] = field(default_factory=dict)  # time of each user's last one
    shared_note: int = 0  # the id of a note that all change
    only_shared_note: bool = False  # whether all change it all the time

    def __post_init__(self) -> None:
        self._running = asyncio.Event()
        self._connections: list[HttpConnection] = []
        self._users: set[asyncio.Task[Any]] = set()
        self._requests_in_progress = 0

    async def start(self, users: int = USERS) -> None:
        self.shared_note = await self.write(self.connection(), "POST", "/notes") or 0
        assert self.shared_note, self.errors
        self._running.set()
        self._users = {asyncio.create_task(self._use(number)) for number in range(users)}

    def connection(self) -> HttpConnection:
        self._connections.append(HttpConnection(self.port))
        return self._connections[-1]

    def reconnect(self) -> None:
        for connection in self._connections:
            connection.close()

    def doubtful_token(self) -> str:
        """Return a new token, which may or may not become stored."""
        token = uuid4().hex
        self.doubtful.add(token)
        return token

    async def pause(self) -> None:
        self._running.clear()
        await until(lambda: not self._requests_in_progress)

    def resume(self) -> None:
        self._running.set()

    async def stop(self) -> None:
        await self.pause()
        await cancel(self._users)
        self.reconnect()

    async def progress(self, since: float) -> float:
        """Wait for a write of every user after `since`; return the time of the slowest user's."""
        first_write: dict[int, float] = {}

        def all_have_written() -> bool:
            for user, time_of_write in self.last_write.items():
                if time_of_write > since:
                    first_write.setdefault(user, time_of_write)
            return len(first_write) == len(self._users)

        await until(all_have_written)
        return max(first_write.values())

    async def _use(self, user: int) -> None:
        connection = self.connection()
        note = None
        while True:
            await self._running.wait()
            self._requests_in_progress += 1
            try:
                note = await self._act(connection, user, note)
            finally:
                self._requests_in_progress -= 1
            await asyncio.sleep(0 if self.busy else random.uniform(0.02, 0.06))  # noqa: S311

    async def _act(self, connection: HttpConnection, user: int, note: int | None) -> int | None:
        chance = random.random()  # noqa: S311
        if self.only_shared_note:
            written = await self.write(connection, "PATCH", f"/notes/{self.shared_note}")
        elif note is None or chance < 0.2:
            written = note = await self.write(connection, "POST", "/notes")
        elif chance < 0.5:
            written = await self.write(connection, "PATCH", f"/notes/{note}")
        elif chance < 0.6:
            written = await self.write(connection, "PATCH", f"/notes/{self.shared_note}")
        elif chance < 0.8:
            written = await self.write(connection, "POST", f"/notes/{note}/synchronize")
        else:
            await self.ask(connection, "GET", random.choice(["/notes?limit=2", f"/notes/{note}"]))  # noqa: S311
            return note
        if written:
            self.last_write[user] = time.monotonic()
        return note

    async def write(self, connection: HttpConnection, method: str, path: str) -> int | None:
        """Write a new token, and return the id of the note that has it now, or None."""
        synchronizes = path.endswith("synchronize")
        request = token = uuid4().hex
        body = None if synchronizes else {"title": "note", "body": token}
        answer = await self.ask(connection, method, path, body, request, 1 + synchronizes)
        if synchronizes:
            token = self.upstream.tokens.get(request, token)  # none if it was not called
        if answer is None or answer.status == 503:
            self.doubtful.add(token)
        elif answer.status not in (200, 201):
            self.rejected.add(token)
        elif (stored := answer.json())["body"] != token:
            self.errors.append(f"{method} {path} stored another body")
        else:
            self.acknowledged[token] = stored["id"], stored["version"]
            return int(stored["id"])
        return None

    async def ask(
        self,
        connection: HttpConnection,
        method: str,
        path: str,
        body: object = None,
        request: str = "",
        transactions: int = 1,
    ) -> Answer | None:
        """Send one request, and check the form of a refusal. None if no answer came."""
        self.sent += 1
        started = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await connection.ask(method, path, body, request)
        except TimeoutError:
            self.errors.append(f"{method} {path} was not answered")
            return None
        except (OSError, EOFError) as error:
            self.lost_answers += 1
            if not self.may_lose_answers:
                self.errors.append(f"{method} {path}: {error!r}")
            await asyncio.sleep(0.05)
            return None
        if answer.status == 503:
            self.refused += 1
            self.reads_refused += method == "GET"
            self.last_refusal = time.monotonic()
            seconds = (self.last_refusal - started) / transactions
            self.longest_refusal = max(self.longest_refusal, seconds)
            if not answer.headers.get("retry-after"):
                self.errors.append(f"{method} {path}: no Retry-After")
            if answer.headers["content-type"] != "application/problem+json":
                self.errors.append(f"{method} {path}: not problem+json")
        elif answer.status == 409:
            self.conflicts += 1
        elif answer.status not in (200, 201):
            text = answer.content.decode(errors="replace")[:200]
            self.errors.append(f"{method} {path}: {HTTPStatus(answer.status)} {text}")
        return answer


INCONSISTENT_NOTES = """
SELECT count(*) FROM notes n
LEFT JOIN LATERAL (
    SELECT count(*) AS number, min(version) AS first, max(version) AS last
    FROM note_revisions WHERE note_id = n.id
) r ON true
WHERE (r.number, r.first, r.last) IS DISTINCT FROM (n.version::bigint, 1, n.version)
OR NOT EXISTS (
    SELECT FROM note_revisions WHERE note_id = n.id AND version = n.version
    AND (title, body) = (n.title, n.body)
)
"""


async def count_lost_writes(server: PostgresServer, users: Users) -> int:
    """Compare the database with the answers; return the number of lost acknowledged writes."""
    async with server.session() as connection:
        rows = await connection.fetch("SELECT body, note_id, version FROM note_revisions")
        assert await connection.fetchval(INCONSISTENT_NOTES) == 0, "a note without its revisions"
    stored = {row["body"]: (row["note_id"], row["version"]) for row in rows}
    assert len(stored) == len(rows), "written twice"
    assert not stored.keys() & users.rejected, "written although rejected"
    sent = users.acknowledged.keys() | users.doubtful
    assert stored.keys() <= sent, "written by nobody"
    both = {token: place for token, place in users.acknowledged.items() if token in stored}
    assert all(stored[token] == place for token, place in both.items()), "stored elsewhere"
    return len(users.acknowledged.keys() - stored.keys())
