"""Starts gunicorn with deploy/gunicorn.conf.py, when the settings are right."""

import os
import sys
from pathlib import Path

from .master import load_settings


def main() -> None:
    """Replace this process with gunicorn, which gets the flags of the command line."""
    settings = load_settings()
    # gunicorn reads these two before the file, and for a wrong value shows a traceback or a line
    # without the variable's name.
    os.environ["WEB_CONCURRENCY"] = str(settings.web_concurrency)
    os.environ["FORWARDED_ALLOW_IPS"] = ",".join(settings.forwarded_allow_ips)
    gunicorn = Path(sys.executable).with_name("gunicorn")
    flags = ["--config", "deploy/gunicorn.conf.py", *sys.argv[1:]]
    os.execv(gunicorn, [str(gunicorn), *flags, f"{__package__}.main:app"])  # noqa: S606  # gunicorn needs no shell


if __name__ == "__main__":
    main()
