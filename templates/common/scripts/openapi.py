"""The command behind `make openapi`: it writes what the service answers at /openapi.json.

The schema depends on the code alone, so this needs no server, no settings and no database.
"""

import json
import logging
import sys
from pathlib import Path

import structlog
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings


def main(file: Path) -> None:
    # Without this, the request below would leave a line in the terminal.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    # Required settings stay unset: only a service that starts needs them, for its lifespan.
    app = create_app(Settings.model_construct())
    schema = TestClient(app).get("/openapi.json").raise_for_status().json()
    file.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Wrote {file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
