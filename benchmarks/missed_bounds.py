"""Why a bound is missed, by its key, with the profile that shows it, for docs/performance.md."""

MISSED_BOUNDS: dict[str, str] = {}
