"""The application that a server loads, created with the settings of the environment."""

import gc

from . import logs
from .app import create_app
from .settings import InvalidSettings, Settings

try:
    settings = Settings.load()
except InvalidSettings as error:
    raise SystemExit(f"Not started: {error}") from None

logs.configure(settings)
app = create_app(settings)

# The modules imported so far live as long as the process. Freezing them keeps the garbage collector
# from searching them, which would delay all requests by tens of milliseconds each time.
gc.collect()
gc.freeze()
