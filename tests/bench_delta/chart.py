"""The chart of a run: a row for each pair, a dot for each peer, bytes on a logarithmic axis. Plain SVG, no package."""

from __future__ import annotations

import math
from html import escape

from tests.bench_delta.peers import OURS
from tests.bench_delta.report import Run

WIDTH, LEFT, RIGHT, ROW, TOP = 900, 140, 30, 34, 70
LETTER = 5.8  # width of a letter of the legend, at most on average
COLOURS = ("#c02020", "#e08080", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#ff7f0e", "#17becf", "#7f7f7f", "#bcbd22")


def svg(run: Run) -> str:
    """An SVG document; without results only its axis."""
    lengths = [result.length for result in run.results if result.length]
    low, high = math.floor(math.log10(min(lengths, default=1))), math.ceil(math.log10(max(lengths, default=10)))
    high = max(high, low + 1)

    def x(length: int) -> float:
        return LEFT + (math.log10(length) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    height = TOP + ROW * len(run.pairs) + 30
    size = f'width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-weight="bold">Bytes of an update, less is better (logarithmic)</text>',
    ]
    shown = [peer.name for peer in run.peers if not peer.missing]
    at = float(LEFT)
    for number, name in enumerate(shown):
        parts.append(_dot(at, 36, name, number))
        parts.append(f'<text x="{at + 9:.0f}" y="40" font-size="10">{escape(name)}</text>')
        at += 24 + LETTER * len(name)
    for power in range(low, high + 1):
        at = x(10**power)
        parts.append(f'<line x1="{at:.1f}" y1="{TOP - 14}" x2="{at:.1f}" y2="{height - 24}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle">{_bytes(10**power)}</text>')
    for row, pair in enumerate(run.pairs):
        y = TOP + ROW * row
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(pair.name)}</text>')
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#eee"/>')
        found = run.of(pair.name)
        # Ours last, so that it lies on top.
        for number, name in reversed(list(enumerate(shown))):
            if name in found and (length := found[name].length):
                parts.append(_dot(x(length), y, name, number, f"{pair.name}, {name}: {length:,} bytes"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _dot(x: float, y: float, name: str, number: int, title: str = "") -> str:
    radius = 6 if name == OURS else 4
    fill = COLOURS[number % len(COLOURS)]
    place = f'cx="{x:.1f}" cy="{y}" r="{radius}"'
    return f'<circle {place} fill="{fill}" fill-opacity="0.8"><title>{escape(title or name)}</title></circle>'


def _bytes(count: int) -> str:
    return f"{count // 10**6} MB" if count >= 10**6 else f"{count // 1000} kB" if count >= 1000 else f"{count} B"
