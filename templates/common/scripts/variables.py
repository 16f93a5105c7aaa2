"""The variables of the environment and of `.env`, as the settings read them."""

import os

from dotenv import dotenv_values

from service.settings import (
    ENV_FILE,
    ENV_FILE_ENCODING,
    InvalidSettings,
    describe,
)


def read_variables() -> dict[str, str]:
    """Return the variables that are set in the environment or, where it has none, in `.env`.

    Names are case-insensitive and returned in upper case. An empty variable is not set. Raises
    InvalidSettings.
    """
    try:
        in_file = dotenv_values(ENV_FILE, encoding=ENV_FILE_ENCODING)
    except (OSError, ValueError) as error:
        raise InvalidSettings(describe(error)) from None
    variables = {name.upper(): value for name, value in in_file.items() if value}
    return variables | {name.upper(): value for name, value in os.environ.items() if value}
