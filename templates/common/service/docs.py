"""The page at /docs, which loads nothing from other hosts."""

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/files/swagger_style.css">
<div id="ui"></div>
<script src="docs/files/swagger_bundle.js"></script>
<script>
// Left to itself it has swagger.io validate the schema wherever this is not localhost.
SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", validatorUrl: null})
</script>
</html>
"""

# Swagger UI's own files, which the package offapi carries.
files = Mount("/docs/files", StaticFiles(packages=[("offapi", ".")]))


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)
