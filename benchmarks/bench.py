"""What every experiment uses: a database, an upstream and a progress bar."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from benchmarks.database import postgres
from benchmarks.programs import ALL, Program
from benchmarks.servers import Server, served, upstream


@dataclass(frozen=True)
class Bench:
    database: str  # its URL
    upstream: Server
    progress: Progress
    quick: bool

    @contextmanager
    def serve(
        self, *programs: str | Program, pool: int, pool_log: Path | None = None, **settings: object
    ) -> Iterator[list[Server]]:
        """Serve programs side by side, each with a pool of its own.

        pool_log: the file that SQLAlchemy's pool reports to, see observed.py.
        """
        settings = {
            "database_url": self.database,
            "database_pool_size": pool,
            "upstream_url": self.upstream.url,
            **settings,
        }
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    served(ALL[each] if isinstance(each, str) else each, pool_log, **settings)
                )
                for each in programs
            ]


@contextmanager
def bench(quick: bool) -> Iterator[Bench]:
    with Progress() as progress, postgres() as url, upstream() as slow:
        yield Bench(url, slow, progress, quick)
