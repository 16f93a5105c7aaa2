"""What a server loads: `app`, made from the environment."""

from . import logs
from .app import create_app
from .settings import InvalidSettings, Settings

try:
    settings = Settings.load()
except InvalidSettings as error:
    raise SystemExit(f"Not started: {error}") from None

logs.configure(settings)
app = create_app(settings)
