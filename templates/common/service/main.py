"""What a server loads: `app`, made from the environment."""

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

# What is there by now stays, so the garbage collector need not look through it again and again,
# while every request waits: for tens of milliseconds, with SQLAlchemy.
gc.collect()
gc.freeze()
