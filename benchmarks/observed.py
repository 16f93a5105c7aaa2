"""Serve a program as `python -m uvicorn` does, and log when SQLAlchemy's pool lends a connection.

python -m benchmarks.observed FILE [arguments of uvicorn]
"""

import sys
import time
from pathlib import Path

import uvicorn
from sqlalchemy import event
from sqlalchemy.pool import Pool


def observe(file: Path) -> None:
    """Write a line to `file` whenever a connection is checked out or returned."""
    log = file.open("a", buffering=1)

    def write(what: str) -> None:
        log.write(f"{time.time():.6f} {what}\n")

    event.listen(Pool, "checkout", lambda *_: write("checkout"))
    event.listen(Pool, "checkin", lambda *_: write("return"))


if __name__ == "__main__":
    observe(Path(sys.argv.pop(1)))
    uvicorn.main()
