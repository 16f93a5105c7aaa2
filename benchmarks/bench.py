"""What all experiments stand on: a database, an upstream, and a bar that tells how far they are."""

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
        self, *names: str | Program, pool: int, watched: Path | None = None, **settings: object
    ) -> Iterator[list[Server]]:
        """Serve programs side by side, each with a pool of its own."""
        settings = {
            "database_url": self.database,
            "database_pool_size": pool,
            "upstream_url": self.upstream.url,
            **settings,
        }
        programs = [name if isinstance(name, Program) else ALL[name] for name in names]
        with ExitStack() as stack:
            yield [stack.enter_context(served(one, watched, **settings)) for one in programs]


@contextmanager
def bench(quick: bool) -> Iterator[Bench]:
    with Progress() as progress, postgres() as url, upstream() as slow:
        yield Bench(url, slow, progress, quick)
