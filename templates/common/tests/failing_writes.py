"""Writes that PostgreSQL refuses, and how often the service has tried them."""

from tests.temporary_database import Sql

ADD_TRIGGER = """
    CREATE SEQUENCE test_attempts;
    CREATE FUNCTION test_fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('test_attempts') <= {times} THEN
            RAISE EXCEPTION 'hunter2' USING ERRCODE = '{sqlstate}';
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER test_fail AFTER {writes}
    DEFERRABLE INITIALLY {when} FOR EACH ROW EXECUTE FUNCTION test_fail();
"""
# The last value of a new sequence is 1, too.
ATTEMPTS = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM test_attempts"
REMOVE_TRIGGER = "DROP FUNCTION IF EXISTS test_fail CASCADE; DROP SEQUENCE IF EXISTS test_attempts"


class FailingWrites:
    def __init__(self, sql: Sql, writes: str) -> None:
        """writes: what fails, such as `INSERT OR UPDATE ON books`."""
        self._sql = sql
        self._writes = writes

    async def start(self, sqlstate: str, *, at_commit: bool, times: int = 1000) -> None:
        """Fail the next `times` rows with an SQLSTATE, at the statement or at COMMIT."""
        when = "DEFERRED" if at_commit else "IMMEDIATE"
        trigger = ADD_TRIGGER.format(writes=self._writes, sqlstate=sqlstate, times=times, when=when)
        await self._sql.execute(trigger)

    async def attempts(self) -> int:
        """Return how many rows were written since `start`, including those that failed."""
        number: int = await self._sql.fetchval(ATTEMPTS)
        return number

    async def stop(self) -> None:
        await self._sql.execute(REMOVE_TRIGGER)
