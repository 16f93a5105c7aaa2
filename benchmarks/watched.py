"""Serves a program as `python -m uvicorn` does, and notes in a file when its pool lends a connection.

python -m benchmarks.watched FILE [arguments of uvicorn]
"""

import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from asyncpg.pool import PoolConnectionHolder
from sqlalchemy import event
from sqlalchemy.pool import Pool


def watch(file: Path) -> None:
    log = file.open("a", buffering=1)

    def note(what: str) -> None:
        log.write(f"{time.time():.6f} {what}\n")

    event.listen(Pool, "checkout", lambda *_: note("checkout"))
    event.listen(Pool, "checkin", lambda *_: note("return"))
    lend, take_back = PoolConnectionHolder.acquire, PoolConnectionHolder._release

    async def noted_lend(holder: PoolConnectionHolder) -> Any:
        connection = await lend(holder)
        note("checkout")
        return connection

    def noted_take_back(holder: PoolConnectionHolder) -> None:
        if holder._in_use:
            note("return")
        take_back(holder)

    PoolConnectionHolder.acquire = noted_lend
    PoolConnectionHolder._release = noted_take_back


if __name__ == "__main__":
    watch(Path(sys.argv.pop(1)))
    uvicorn.main()
