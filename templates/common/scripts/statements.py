"""The command behind `make statements`: it shows which statements cost the database most time.

It asks the database that DATABASE_URL names in the environment or in `.env`, or else the one that
`make run` keeps in `.postgres`.
"""

import asyncio
import os
import shutil

import asyncpg
from dotenv import dotenv_values

from service.settings import DatabaseSettings, InvalidSettings

from scripts.develop import database

EXTENSION = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'"
# https://www.postgresql.org/docs/current/pgstatstatements.html
STATEMENTS = """
    SELECT calls, mean_exec_time, total_exec_time, rows, query
    FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY total_exec_time DESC
    LIMIT 20
"""
SINCE = "SELECT stats_reset FROM pg_stat_statements_info"
WHAT_TO_DO = {
    asyncpg.InsufficientPrivilegeError: "a superuser must execute in this database: "
    "CREATE EXTENSION pg_stat_statements",
    asyncpg.FeatureNotSupportedError: "install the contrib modules of PostgreSQL on its server",
    asyncpg.ObjectNotInPrerequisiteStateError: "set shared_preload_libraries = "
    "'pg_stat_statements' in postgresql.conf and restart PostgreSQL",
}


async def statements(dsn: str) -> str:
    """Return a table of the most expensive statements, a line each."""
    connection = await asyncpg.connect(dsn)
    try:
        # Not CREATE EXTENSION IF NOT EXISTS, which a standby refuses.
        if not await connection.fetchval(EXTENSION):
            await connection.execute("CREATE EXTENSION pg_stat_statements")
        rows = await connection.fetch(STATEMENTS)
        since = await connection.fetchval(SINCE)
    finally:
        await connection.close()
    # In a file or a pipe, which have no width, statements are complete.
    width = shutil.get_terminal_size(fallback=(0, 0)).columns
    lines = [f"Since {since:%Y-%m-%d %H:%M %Z}, in milliseconds:"]
    lines.append(f"{'calls':>9} {'mean':>9} {'total':>9} {'rows':>9}  statement")
    for calls, mean, total, count, text in rows:
        figures = f"{calls:>9} {mean:>9.2f} {total:>9.0f} {count:>9}  "
        lines.append(figures + shortened(" ".join(text.split()), width - len(figures)))
    return "\n".join(lines)


def shortened(text: str, width: int) -> str:
    """Leave out the middle of a long statement: its end, such as WHERE, says more."""
    half = (width - 5) // 2
    return text if half < 1 or len(text) <= width else f"{text[:half]} ... {text[-half:]}"


def main() -> None:
    url = os.environ.get("DATABASE_URL") or dotenv_values(".env").get("DATABASE_URL")
    with database(url) as os.environ["DATABASE_URL"]:
        try:
            print(asyncio.run(statements(DatabaseSettings.load().dsn)))
        except tuple(WHAT_TO_DO) as error:
            raise SystemExit(f"No statistics: {WHAT_TO_DO[type(error)]}") from None
        except (InvalidSettings, asyncpg.PostgresError, OSError) as error:
            raise SystemExit(f"No statistics: {error}") from None


if __name__ == "__main__":
    main()
