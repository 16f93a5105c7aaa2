"""Serves a program as `python -m uvicorn` does, and notes in a file when a connection is lent.

python -m benchmarks.watched FILE [arguments of uvicorn]
"""

import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import event
from sqlalchemy.pool import Pool


def watch(file: Path) -> None:
    log = file.open("a", buffering=1)

    def note(what: str) -> None:
        log.write(f"{time.time():.6f} {what}\n")

    try:
        from service.postgres import Turns
    except ModuleNotFoundError as error:
        if error.name != "service":
            raise
        event.listen(Pool, "checkout", lambda *_: note("checkout"))
        event.listen(Pool, "checkin", lambda *_: note("return"))
        return

    # The service hands connections on, of which its libraries' pools know nothing. Whoever has one
    # has a turn, and nobody else.
    lend, take_back = Turns._taken, Turns.give_back

    async def noted_lend(turns: Turns, acquire: Any) -> Any:
        note("checkout")
        return await lend(turns, acquire)

    def noted_take_back(turns: Turns) -> None:
        note("return")
        take_back(turns)

    Turns._taken, Turns.give_back = noted_lend, noted_take_back


if __name__ == "__main__":
    watch(Path(sys.argv.pop(1)))
    uvicorn.main()
