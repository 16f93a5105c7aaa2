"""The service without the middleware that ABLATED_MIDDLEWARE names, to measure what that costs."""

import os

from service import middleware
from service.main import app

__all__ = ["app"]

if name := os.environ["ABLATED_MIDDLEWARE"]:
    ablated = getattr(middleware, name)
    app.user_middleware = [each for each in app.user_middleware if each.cls is not ablated]
