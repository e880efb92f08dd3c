"""Plots fit for a report: each draws one frame of this package on one set of axes, with its units."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import matplotlib.dates as mdates
import matplotlib.pyplot as plt

WIDTH = 10.0
"""Inches of a figure."""
SHOWN = 40
"""Boards that have a bar and a name of their own; of a larger fleet the first ones have."""
GREY, RED, BLUE, AMBER, GREEN = "#999999", "#d55e00", "#0072b2", "#e69f00", "#009e73"
SKY, PINK, SAND = "#56b4e9", "#cc79a7", "#e3d9b0"
"""Okabe and Ito's colours, which the colour-blind tell apart. RED, and hatching, is for what is wrong."""
HATCH = "////"
COLOURS = (BLUE, AMBER, GREEN, PINK, SKY)
PURPOSES = {
    "blob": BLUE,
    "refetched": RED,
    "metadata": SKY,
    "config": GREEN,
    "reported": PINK,
    "telemetry": AMBER,
    "overhead": GREY,
}
PHASES = {
    "update": GREY,
    "fetching": BLUE,
    "applying": PINK,
    "activating": AMBER,
    "confirming": GREEN,
    "waiting": SAND,
}


def axes(height: float, ratios: Sequence[float] = (1,)) -> Any:
    """Axes on a figure of the usual width and this `height` in inches; an array of them for several `ratios`."""
    figure, made = plt.subplots(
        len(ratios), figsize=(WIDTH, height), sharex=len(ratios) > 1, height_ratios=ratios, layout="constrained"
    )
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_axisbelow(True)
    return made


def time_axis(ax: Any) -> None:
    ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(ax.xaxis.get_major_locator()))
    ax.set_xlabel("time (UTC)")


def bars(
    values: Any, label: str, marked: Sequence[str], names: tuple[str, str], limit: tuple[float, str] | None = None
) -> None:
    """A bar a board, the first on top, those that are `marked` in red. `names` are those of both kinds; `limit` is a
    value and what it is.
    """
    shown = values.head(SHOWN)
    ax = axes(max(2.5, 0.24 * len(shown)))
    _boards(ax, shown.index, len(values))
    for part, name in ((shown[shown.index.isin(marked)], names[0]), (shown[~shown.index.isin(marked)], names[1])):
        if len(part):
            ax.barh(part.index, part, label=name, height=0.7, **_fill(BLUE, wrong=part.index[0] in marked))
    ax.set_xlabel(label)
    if limit:
        ax.axvline(limit[0], color=AMBER, linestyle="--", label=limit[1])
    _legend(ax)


def purposes(frame: Any, label: str) -> None:
    """Bytes of links: a bar a board, the first on top, a colour a purpose."""
    shown = frame.head(SHOWN)
    ax = axes(max(2.5, 0.26 * len(shown)))
    _boards(ax, shown.index, len(frame))
    left = shown.sum(axis=1) * 0
    for column in _present(shown):
        ax.barh(shown.index, shown[column], left=left, color=PURPOSES.get(column, GREY), label=column, height=0.7)
        left += shown[column]
    ax.set_xlabel(label)
    _legend(ax)


def purposes_over_time(frame: Any, label: str) -> None:
    """Bytes of links over time, a colour a purpose."""
    ax = axes(3.2)
    there = _present(frame)
    colours = [PURPOSES.get(name, GREY) for name in there]
    ax.stackplot(frame.index, frame[there].to_numpy().T, labels=there, colors=colours, step="post")
    ax.set_ylabel(label)
    ax.margins(x=0)
    _legend(ax)
    time_axis(ax)


def lines(frame: Any, label: str, marked: Sequence[str], names: tuple[str, str], moment: tuple[datetime, str]) -> None:
    """A line a column; those that are `marked` in red. `names` are those of both kinds; `moment` is one, and what."""
    ax = axes(3.6)
    others = [name for name in frame.columns if name not in marked]
    for columns, colour, name in ((others, GREY, names[1]), (marked, RED, names[0])):
        for number, column in enumerate(columns):
            ax.plot(frame.index, frame[column], color=colour, linewidth=1.2, label=None if number else name)
    ax.axvline(moment[0], color=AMBER, linestyle="--", label=moment[1])
    ax.set_ylim(bottom=0)
    ax.set_ylabel(label)
    ax.grid(alpha=0.3)
    ax.margins(x=0)
    _legend(ax)
    time_axis(ax)


def timeline(frame: Any) -> None:
    """A rollout: a bar a board from the offer to the end, red where it failed. In a large one only those have names."""
    ax = axes(max(2.5, 0.26 * min(len(frame), SHOWN)))
    _boards(ax, frame.index, len(frame))
    waves = list(dict.fromkeys(frame.wave))
    for number, wave in enumerate(waves):
        part = frame[(frame.wave == wave) & (frame.error == "")]
        colour = COLOURS[number % len(COLOURS)]
        ax.barh(part.index, part.ended - part.offered, left=part.offered, color=colour, label=wave, height=0.7)
    failed = frame[frame.error != ""]
    if len(failed):  # of nothing matplotlib draws a legend all the same, in another colour
        length = failed.ended - failed.offered
        ax.barh(failed.index, length, left=failed.offered, label="failed", height=0.7, **_fill(RED, wrong=True))
    if len(frame) > SHOWN:
        ax.set_yticks(list(failed.index))
    _legend(ax)
    time_axis(ax)


def waterfall(frame: Any, ax: Any = None, begin: str = "start") -> None:
    """One board's trace: a bar a span, in the order of their beginnings, with what they failed of."""
    ax = ax or axes(max(1.8, 0.34 * len(frame)))
    for row, span in enumerate(frame.itertuples()):
        start, end = getattr(span, begin), span.end
        fill = _fill(PHASES.get(span.phase, GREY), wrong=bool(span.error))
        ax.barh(row, end - start, left=start, height=0.62, **fill)
        seconds = (end - start).total_seconds()
        ax.annotate(f" {seconds:,.0f} s {span.error}", (end, row), va="center", fontsize=8)
    ax.set_yticks(range(len(frame)), list(frame.phase))
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.grid(axis="x", alpha=0.3)
    time_axis(ax)


def _fill(colour: str, *, wrong: bool) -> dict[str, Any]:
    return {"color": RED, "hatch": HATCH, "edgecolor": "white", "linewidth": 0} if wrong else {"color": colour}


def _boards(ax: Any, shown: Any, count: int) -> None:
    """Rows for these boards, the first on top whatever is drawn first, and how many there are beyond them."""
    ax.yaxis.update_units(list(shown))
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.grid(axis="x", alpha=0.3)
    if count > len(shown):
        ax.set_ylabel(f"the first {len(shown)} of {count} boards")


def _legend(ax: Any) -> None:
    """Above the axes, where it covers nothing."""
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=8, fontsize=9, borderaxespad=0.2)


def _present(frame: Any) -> list[str]:
    """The columns that have anything, in the order of the colours."""
    known = [name for name in PURPOSES if name in frame.columns]
    return [name for name in [*known, *frame.columns.difference(known)] if frame[name].any()]


def incident(numbers: Any, units: dict[str, str], logs: Any, spans: Any, window: tuple[datetime, datetime]) -> None:
    """Signals, what the board said and what it did, below each other on one time axis."""
    rows = axes(1.2 * (len(units) + 1) + 0.3 * len(spans), [*[1.0] * (len(units) + 1), max(1.0, 0.27 * len(spans))])
    for ax, (signal, unit) in zip(rows, units.items(), strict=False):
        ax.plot(numbers.index, numbers[signal], color=BLUE, linewidth=1.4, marker=".", markersize=3)
        ax.set_title(signal, loc="left", fontsize=9)
        ax.set_ylabel(unit)
        ax.set_ylim(0, max(1.0, 1.15 * numbers[signal].max()))
        ax.grid(alpha=0.3)
    said, done = rows[-2], rows[-1]
    bad = logs.severity_number >= 13
    for part, colour in ((logs[~bad], GREY), (logs[bad], RED)):
        said.scatter(part.time, part.severity_number, color=colour, s=28)
    said.set_title("log", loc="left", fontsize=9)
    said.set_yticks([9, 13, 17], ["info", "warn", "error"])
    said.set_ylim(6, 20)
    waterfall(spans, done)
    done.set_title("update", loc="left", fontsize=9)
    done.set_xlim(*window)
