"""The plots: SVG that is the same for the same results, on white for dark pages, too."""

import hashlib
import json
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures import COMBINATIONS, ORDER, Results, middle
from benchmarks.programs import FLOORS, PEERS
from benchmarks.waiting import (
    BURST,
    CROWD,
    CROWD_POOL,
    CROWD_STEP,
    EXPLICIT,
    IMPLICIT,
    PAUSE,
    POOL,
    STEP,
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
SERVICE, FLOOR, PEER = "#2166ac", "#999999", "#d6604d"


def figure(rows: int, columns: int, width: float, height: float, **options: Any) -> Any:
    drawn = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    return drawn, drawn.subplots(rows, columns, squeeze=False, **options)


def costs(results: Results) -> Figure:
    """Draw bars of CPU a request, in groups that belong beside each other."""
    works = ["read one", "list 10", "change"]
    drawn, [axes] = figure(1, len(works), 11, 4.6, sharey=True)
    colours = [FLOOR] * len(FLOORS) + [SERVICE] * len(COMBINATIONS) + [PEER] * len(PEERS)
    for axis, work in zip(axes, works, strict=True):
        found = results["costs"][work]
        values = [middle(found[name], "cpu") for name in ORDER]
        bars = axis.barh(ORDER, values, color=colours)
        axis.bar_label(bars, [f"{value:.0f}" for value in values], padding=3, fontsize=9)
        axis.set_title(work)
        axis.set_xlabel("CPU a request, µs")
        axis.margins(x=0.15, y=0.01)
        axis.tick_params(axis="y", length=0)
    axes[0].invert_yaxis()
    return drawn


def pools(results: Results) -> Figure:
    drawn, [[axis]] = figure(1, 1, 7, 3.4)
    for name, sizes in results["scaling"]["pools"].items():
        rates = [middle(found, "rate") for found in sizes.values()]
        colour = FLOOR if "/" in name else None  # the next one
        axis.plot([int(size) for size in sizes], rates, marker="o", label=name, color=colour)
    axis.set_xscale("log")
    sizes = [int(size) for size in sizes]
    axis.set_xticks(sizes, map(str, sizes))
    axis.minorticks_off()
    axis.set_xlabel("connections")
    axis.set_ylabel("requests a second")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)
    return drawn


def lent(axis: Axes, held: list[float], step: float, pool: int, colour: str) -> None:
    """Draw how many connections were out."""
    axis.stairs(held, [turn * step for turn in range(len(held) + 1)], fill=True, color=colour)
    axis.axhline(pool, color="#333333", linewidth=0.8, linestyle="--")
    axis.set_ylim(0, pool * 1.2)
    axis.set_yticks([0, pool])
    axis.set_ylabel("connections")


def both(held: dict[str, list[float]], step: float, pool: int, titles: list[str]) -> Figure:
    drawn, axes = figure(2, 1, 9, 4.4, sharex=True)
    parts = zip(axes[:, 0], (IMPLICIT, EXPLICIT), (PEER, SERVICE), titles, strict=True)
    for axis, name, colour, title in parts:
        lent(axis, held[name], step, pool, colour)
        axis.set_title(title)
    axes[1, 0].set_xlabel("seconds")
    axes[1, 0].set_xlim(0, max(map(len, held.values())) * step)
    return drawn


def burst(results: Results) -> Figure:
    users, seconds = BURST
    watched = results["waiting"]["watched"]
    held = {name: watched[name]["held"] for name in (IMPLICIT, EXPLICIT)}
    kind = results["waiting"]["bursts"][f"{users} on {POOL}, {seconds} s"]
    titles = [
        f"{name}: {users} synchronizations in {median(kind[name]):.1f} s, "
        f"pool of {POOL}, upstream of {seconds} s"
        for name in (IMPLICIT, EXPLICIT)
    ]
    return both(held, STEP, POOL, titles)


def crowd(results: Results) -> Figure:
    crowds = results["waiting"]["crowds"]
    held = {name: crowds[name]["held"] for name in (IMPLICIT, EXPLICIT)}
    titles = [
        f"{name}: {crowds[name]['rate']:.0f} a second, {CROWD:,} users, "
        f"pool of {CROWD_POOL}, upstream of {PAUSE} s"
        for name in (IMPLICIT, EXPLICIT)
    ]
    return both(held, CROWD_STEP, CROWD_POOL, titles)


PLOTS = {"costs": costs, "pools": pools, "burst": burst, "crowd": crowd}


def digest(results: Results) -> str:
    """Give what a plot carries to tell which results it shows."""
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


def draw(results: Results, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    metadata = {"Date": None, "Creator": None, "Description": digest(results)}
    with mpl.rc_context(STYLE):
        for name, plot in PLOTS.items():
            plot(results).savefig(folder / f"{name}.svg", metadata=metadata)
