"""`make recording`: type the README's first commands in a terminal, and draw docs/first-run.svg."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parent
SVG = ROOT / "docs" / "first-run.svg"
QUESTIONS = json.loads((ROOT / "cookiecutter.json").read_text())["__prompts__"]
COLUMNS, ROWS = 114, 50
PATIENCE = 300.0  # seconds, most of them for an installation without a cache
SECONDS = 16  # for both pictures
URL = "http://127.0.0.1:8000"
# What is typed, as the README and the README of a project say.
COOKIECUTTER = "cookiecutter gh:org/cookiecutter-async-postgres"
RUN = "cd notes-service && make run"
CREATE = f"""curl {URL}/notes -H 'Content-Type: application/json' -d '{{"title": "first"}}'"""
SYNCHRONIZE = f"curl -X POST {URL}/notes/1/synchronize"
# All that a program may write to a terminal except colors and the ends of lines.
CONTROL = re.compile(r"\x1b\[\?[0-9;]*[a-z]|\x1b\[[0-9;]*[A-Zac-ln-z]|[\r\x07]")
THEME = TerminalTheme(
    (13, 17, 23),
    (201, 209, 217),
    [
        *((72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34)),
        *((88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)),
    ],
)
# rich's own template loads a font from another host.
PICTURE = """\
<svg viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px
  ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
{styles}
</style>
<defs>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""
# Where nothing is animated, the first picture stays.
PICTURES = """\
<svg viewBox="{box}" xmlns="http://www.w3.org/2000/svg">
<style>
@keyframes first {{ 50% {{ opacity: 0 }} }}
@keyframes second {{ 50% {{ opacity: 1 }} }}
.first {{ animation: first {seconds}s step-end infinite }}
.second {{ animation: second {seconds}s step-end infinite; opacity: 0 }}
@media (prefers-reduced-motion) {{ .first, .second {{ animation: none }} }}
</style>
<g class="first">
{first}</g>
<g class="second">
{second}</g>
</svg>
"""


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *command: str | Path, folder: Path, **environment: str) -> None:
        self.output = ""
        self._terminal, side_of_program = pty.openpty()
        fcntl.ioctl(side_of_program, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
        size = {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **size, **environment},
            stdin=side_of_program,
            stdout=side_of_program,
            stderr=side_of_program,
            start_new_session=True,
        )
        os.close(side_of_program)
        os.set_blocking(self._terminal, False)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(timeout=30)
        os.close(self._terminal)

    def press_enter(self) -> None:
        os.write(self._terminal, b"\n")

    def read_until(self, text: str, count: int = 1) -> None:
        """Read until the program has written a text so often, or has ended."""
        deadline = time.monotonic() + PATIENCE
        while self.shown.count(text) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} did not come: {self.output}")
            try:
                part = os.read(self._terminal, 65_536)
            except BlockingIOError:
                time.sleep(0.02)
                continue
            except OSError:  # That is how Linux says that the program has ended.
                return
            if not part:
                return
            self.output += CONTROL.sub("", part.decode())

    @property
    def shown(self) -> str:
        """The output without colors."""
        return plain(self.output)


def plain(output: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", output)


def answer_questions(folder: Path) -> str:
    """Run cookiecutter, press Enter at each question, and return what the terminal showed."""
    command = [sys.executable, "-m", "cookiecutter", str(ROOT)]
    with Terminal(*command, folder=folder, HOME=str(folder)) as terminal:
        for number in range(1, len(QUESTIONS) + 1):
            terminal.read_until("): ", number)
            terminal.press_enter()
        terminal.read_until("Then read its README.md.")
    return terminal.output


def run_service(project: Path) -> tuple[str, list[str]]:
    """Run `make run`, send both requests, and return what the terminal showed, and the answers."""
    with socket.create_server(("127.0.0.1", 8000)):
        pass  # The port is free.
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": tools, "UV_PYTHON": sys.executable, "DATABASE_URL": ""}
    with Terminal("make", "run", folder=project, **environment) as terminal:
        terminal.read_until("Application startup complete")
        answers = [
            subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
            for command in (CREATE, SYNCHRONIZE)
        ]
        terminal.read_until("status", len(answers))
    return terminal.output, answers


def typed(command: str) -> str:
    return f"\x1b[1;32m$\x1b[0m \x1b[1m{command}\x1b[0m\n"


def show_service(output: str, answers: list[str]) -> str:
    """Return the second picture, without the lines of the server that are the same everywhere."""
    before, serving, after = output.partition("Serving until Ctrl-C")
    address, *lines = after.splitlines()
    requests = [line for line in lines if " request " in plain(line)]
    shown = [typed(RUN) + before + serving + address, *requests, "", "In another terminal:", ""]
    for command, answer in zip((CREATE, SYNCHRONIZE), answers, strict=True):
        shown += [typed(command) + answer, ""]
    return "\n".join(shown)


def draw(*screens: str) -> str:
    """Return an SVG that shows two screens in turn."""
    height = max(count_lines(screen) for screen in screens)
    pictures = []
    for number, screen in enumerate(screens):
        console = Console(record=True, width=COLUMNS, file=StringIO(), highlight=False)
        console.print(Text.from_ansi(screen), end="\n" * (1 + height - count_lines(screen)))
        options = {"title": "", "theme": THEME, "code_format": PICTURE}
        pictures.append(console.export_svg(unique_id=f"screen{number}", **options))
    [box] = {re.search('viewBox="(.*?)"', picture)[1] for picture in pictures}
    first, second = (re.sub("(?m) +$", "", picture) for picture in pictures)
    return PICTURES.format(box=box, seconds=SECONDS, first=first, second=second)


def count_lines(screen: str) -> int:
    console = Console(width=COLUMNS, file=StringIO())
    return len(console.render_lines(Text.from_ansi(screen)))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="recording-") as folder:
        questions = typed(COOKIECUTTER) + answer_questions(Path(folder))
        service = show_service(*run_service(Path(folder) / "notes-service"))
    SVG.write_text(draw(questions, service))
    print(f"Wrote {SVG.relative_to(ROOT)}, {SVG.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
