"""Figures of the documents, computed from the results."""

from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

from benchmarks.programs import ALTERNATIVES, BASELINES, SERVICES
from benchmarks.workloads import Figures

Results = dict[str, Any]
COMBINATIONS = [program.name for program in SERVICES]
ORDER = [program.name for program in (*BASELINES, *SERVICES, *ALTERNATIVES)]


def median_of(rounds: Sequence[Figures], figure: str) -> float:
    return median(figures[figure] for figures in rounds)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile: half of the values are between them."""
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return lower, upper


def ratios(rounds: Sequence[Figures], others: Sequence[Figures]) -> list[float]:
    """Return the ratios of CPU within each round, in which both had the same machine."""
    return [one["cpu"] / other["cpu"] for one, other in zip(rounds, others, strict=True)]


def cost_ratios(results: Results, workload: str, name: str, other: str) -> list[float]:
    """Return the ratios of the CPU that two programs take for a workload."""
    programs = results["request_costs"][workload]
    return ratios(programs[name], programs[other])
