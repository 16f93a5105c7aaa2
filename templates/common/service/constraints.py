"""How a domain answers the violation of one of its constraints with an error of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .errors import ServiceError, postgres_details


@asynccontextmanager
async def constraint_errors(**error_by_constraint: type[ServiceError]) -> AsyncIterator[None]:
    """Answer violated constraints, by their names, with errors of a domain.

        async with (
            constraint_errors(users_email_key=EmailTaken),
            database.transaction() as transaction,
        ):
            return await queries.create(transaction, email)

    It comes before the transaction, because a deferred constraint is checked at COMMIT. Violations
    of other constraints, and other errors, are raised as they are. An error is a class that can be
    constructed without arguments.
    """
    try:
        yield
    except Exception as error:
        service_error = error_by_constraint.get(postgres_details(error).get("constraint", ""))
        if service_error is None:
            raise
        raise service_error from error
