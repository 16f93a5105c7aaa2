"""Prepares a release of the template, which CONTRIBUTING.md describes. It pushes nothing."""

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parent
CHANGELOG = ROOT / "CHANGELOG.md"
CONTEXT = ROOT / "cookiecutter.json"
# What projects are rendered from.
RENDERED = ["cookiecutter.json", "templates", "{{cookiecutter.project_slug}}"]
INTERFACE = "docs/interface.txt"
UNRELEASED = "## Unreleased\n"
VERSION = re.compile(r'(?<="__version": ")[^"]*')


def git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def next_version(changelog: str, today: date) -> str:
    """Return the month of `today`, and a number that no release of this month has."""
    month = f"{today.year}.{today.month}"
    numbers = re.findall(rf"^## {re.escape(month)}\.(\d+)$", changelog, re.MULTILINE)
    return f"{month}.{max(map(int, numbers), default=0) + 1}"


def removed_from_interface(version: str) -> list[str]:
    """Return the lines that docs/interface.txt had in the last release and has no longer."""
    lines = git("diff", version, "HEAD", "--", INTERFACE).splitlines()
    return [line for line in lines if line.startswith("-") and not line.startswith("---")]


def main() -> None:
    changelog, context = CHANGELOG.read_text(), CONTEXT.read_text()
    version = VERSION.findall(context)[0]
    has_changes_listed = UNRELEASED in changelog
    if git("status", "--porcelain"):
        sys.exit("Commit your work first: a release is a commit of its own.")

    if not git("tag", "--list", version):
        if has_changes_listed:
            sys.exit(f"{version} has no tag yet: fetch the tags, or tag its commit first.")
        print(f"{version} is prepared. To release it:\n")
    else:
        if not git("diff", "--name-only", version, "HEAD", "--", *RENDERED):
            sys.exit(f"Nothing that is rendered has changed since {version}: no release is needed.")
        if not has_changes_listed:
            sys.exit(
                "Something that is rendered has changed, but CHANGELOG.md does not say what: begin "
                "it with the section `## Unreleased`."
            )
        section = changelog.partition(UNRELEASED)[2].partition("\n## ")[0]
        if (lines := removed_from_interface(version)) and "by hand\n\nNone." in section:
            sys.exit(
                "Domains of users rely on what changed. Name the command that carries them over in "
                'CHANGELOG.md, "What to edit by hand":\n' + "\n".join(lines)
            )
        version = next_version(changelog, date.today())
        CHANGELOG.write_text(changelog.replace(UNRELEASED, f"## {version}\n", 1))
        CONTEXT.write_text(VERSION.sub(version, context, count=1))
        print(f"CHANGELOG.md and cookiecutter.json name {version} now. To release it:\n")
        print(f'    git commit --all --message "Release {version}"')
    print(f'    git tag --annotate {version} --message "{version}"')
    print(f"    git push origin HEAD {version}")


if __name__ == "__main__":
    main()
