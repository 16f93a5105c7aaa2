"""The page at /docs, which loads nothing from other hosts."""

from importlib.util import find_spec
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger_style.css">
<div id="ui"></div>
<script src="docs/swagger_bundle.js"></script>
<script>
// By default Swagger UI sends the schema to swagger.io for validation, except on localhost.
SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", validatorUrl: null})
</script>
</html>
"""


def folder() -> Path:
    """Find the package with Swagger UI. Importing it would read all its files into memory."""
    package = find_spec("offapi")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent


FILES = {name: folder() / name for name in ("swagger_bundle.js", "swagger_style.css")}


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


async def file(request: Request) -> FileResponse:
    name = request.path_params["name"]
    if name not in FILES:
        raise HTTPException(404)
    return FileResponse(FILES[name], headers={"Cache-Control": "max-age=86400"})
