"""Why a bound is not met, by its key, with the profile that says so; docs/performance.md shows it."""

UNMET: dict[str, str] = {}
