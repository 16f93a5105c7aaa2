"""The plots: SVG files that are the same for the same results."""

import hashlib
import json
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.figures import COMBINATIONS, ORDER, Results, median_of
from benchmarks.programs import ALTERNATIVES, BASELINES
from benchmarks.slow_upstream import (
    BURST_POOL,
    BURST_SECONDS,
    BURST_STEP,
    BURST_USERS,
    CROWD_POOL,
    CROWD_SECONDS,
    CROWD_STEP,
    CROWD_USERS,
    OBSERVED,
    SERVICE,
)

STYLE = {
    "axes.edgecolor": "#999999",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "benchmarks",  # the same ids for the same results
}
SERVICE_COLOUR, BASELINE_COLOUR, ALTERNATIVE_COLOUR = "#2166ac", "#999999", "#d6604d"
BACKGROUND = "white"  # or the text would not be readable on dark pages


def subplots(rows: int, columns: int, width: float, height: float, **options: Any) -> Any:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=BACKGROUND)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def costs(results: Results) -> Figure:
    """Draw a bar of CPU per request for each program."""
    workloads = ["read one", "list 10", "change one"]
    figure, [axes] = subplots(1, len(workloads), 11, 4.8, sharey=True)
    colours = [BASELINE_COLOUR] * len(BASELINES) + [SERVICE_COLOUR] * len(COMBINATIONS)
    colours += [ALTERNATIVE_COLOUR] * len(ALTERNATIVES)
    for axis, workload in zip(axes, workloads, strict=True):
        programs = results["request_costs"][workload]
        values = [median_of(programs[name], "cpu") for name in ORDER]
        bars = axis.barh(ORDER, values, color=colours)
        axis.bar_label(bars, [f"{value:.0f}" for value in values], padding=3, fontsize=9)
        axis.set_title(workload)
        axis.set_xlabel("CPU per request, µs")
        axis.margins(x=0.15, y=0.01)
        axis.tick_params(axis="y", length=0)
    axes[0].invert_yaxis()
    return figure


def pools(results: Results) -> Figure:
    """Draw requests per second over the size of the pool."""
    figure, [[axis]] = subplots(1, 1, 7, 3.4)
    for name, sizes in results["scaling"]["pools"].items():
        rates = [median_of(rounds, "rate") for rounds in sizes.values()]
        colour = BASELINE_COLOUR if name.startswith("baselines/") else None  # the next one
        axis.plot([int(size) for size in sizes], rates, marker="o", label=name, color=colour)
    axis.set_xscale("log")
    sizes = [int(size) for size in sizes]
    axis.set_xticks(sizes, map(str, sizes))
    axis.minorticks_off()
    axis.set_xlabel("connections")
    axis.set_ylabel("requests per second")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)
    return figure


def connections(
    in_use: dict[str, list[float]], titles: dict[str, str], step: float, pool: int
) -> Figure:
    """Draw for each observed program how many connections were in use over time."""
    figure, axes = subplots(len(in_use), 1, 9, 2.1 * len(in_use), sharex=True)
    for axis, (name, values) in zip(axes[:, 0], in_use.items(), strict=True):
        edges = [number * step for number in range(len(values) + 1)]
        colour = SERVICE_COLOUR if name == SERVICE else ALTERNATIVE_COLOUR
        axis.stairs(values, edges, fill=True, color=colour)
        axis.axhline(pool, color="#333333", linewidth=0.8, linestyle="--")
        axis.set_ylim(0, pool * 1.2)
        axis.set_yticks([0, pool])
        axis.set_ylabel("in use")
        axis.set_title(titles[name])
    axis.set_xlabel("seconds")
    axis.set_xlim(0, max(map(len, in_use.values())) * step)
    return figure


def burst(results: Results) -> Figure:
    results = results["slow_upstream"]
    in_use = {name: results["observed"][name]["in_use"] for name in OBSERVED}
    titles = {
        name: f"{name}: {BURST_USERS} synchronizations in {median(results['bursts'][name]):.1f} s, "
        f"{BURST_POOL} connections, upstream {BURST_SECONDS} s"
        for name in OBSERVED
    }
    return connections(in_use, titles, BURST_STEP, BURST_POOL)


def crowd(results: Results) -> Figure:
    crowds = results["slow_upstream"]["crowds"]
    in_use = {name: crowds[name]["in_use"] for name in OBSERVED}
    titles = {
        name: f"{name}: {crowds[name]['rate']:.0f} requests per second, {CROWD_USERS:,} users, "
        f"{CROWD_POOL} connections, upstream {CROWD_SECONDS} s"
        for name in OBSERVED
    }
    return connections(in_use, titles, CROWD_STEP, CROWD_POOL)


PLOTS = {"costs": costs, "pools": pools, "burst": burst, "crowd": crowd}


def digest(results: Results) -> str:
    """Return a hash of the results, which each plot carries."""
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


def draw(results: Results, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    metadata = {"Date": None, "Creator": None, "Description": digest(results)}
    with mpl.rc_context(STYLE):
        for name, plot in PLOTS.items():
            plot(results).savefig(folder / f"{name}.svg", metadata=metadata)
