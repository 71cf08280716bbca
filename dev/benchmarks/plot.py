"""Draws curves as SVG: a title, two axes, a few lines and their names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 44, 72, 56
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37")
#: Points of one line that are drawn; more would only make the file larger.
MOST_POINTS = 300


@dataclass(frozen=True)
class Curve:
    """
    Some lines over the same axes.

    :param name: of the file
    :param x: what the horizontal axis shows, with its unit
    :param lines: of each name, the points; the first line is the provider's
    :param logarithmic: whether both axes are logarithmic; otherwise both begin at 0
    """

    name: str
    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    logarithmic: bool = False


def svg(curve: Curve) -> str:
    """Draw a curve."""
    points = [point for line in curve.lines.values() for point in line]
    x = _Axis([at for at, _ in points], LEFT, WIDTH - RIGHT, logarithmic=curve.logarithmic)
    y = _Axis([value for _, value in points], HEIGHT - BOTTOM, TOP, logarithmic=curve.logarithmic)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(curve.title)}" font-family="sans-serif" font-size="13" fill="#24292f">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 22, curve.title, size=15),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, curve.x, anchor="middle"),
        f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(curve.y)}</text>",
    ]
    for at in y.ticks:
        parts.append(f'<path d="M{LEFT} {y(at):.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/>')
        parts.append(_text(LEFT - 8, y(at) + 4, _number(at), anchor="end"))
    for at in x.ticks:
        parts.append(f'<path d="M{x(at):.1f} {HEIGHT - BOTTOM}v5" stroke="#24292f"/>')
        parts.append(_text(x(at), HEIGHT - BOTTOM + 20, _number(at), anchor="middle"))
    parts.append(f'<path d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#24292f"/>')
    beside = LEFT
    for colour, (name, line) in zip(COLOURS, curve.lines.items(), strict=False):
        thinned = line[:: max(1, len(line) // MOST_POINTS)]
        drawn = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in [*thinned, line[-1]])
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(line) <= 10:
            parts += [f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="4" fill="{colour}"/>' for at, value in line]
        parts.append(f'<path d="M{beside} 46h22" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(beside + 28, 50, name))
        beside += 28 + 8 * len(name) + 24
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """Maps values to places between two edges, and knows round values for its ticks."""

    def __init__(self, values: list[float], start: float, end: float, *, logarithmic: bool) -> None:
        self._start, self._end = start, end
        self._scale: Callable[[float], float] = math.log10 if logarithmic else float
        if logarithmic:
            low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
            self.ticks = [10.0**power for power in range(low, high + 1)]
            self._low, self._high = float(low), float(max(high, low + 1))
        else:
            step = _round_step(max(values) / 5)
            self.ticks = [step * n for n in range(math.ceil(max(values) / step - 1e-9) + 1)]
            self._low, self._high = 0.0, self.ticks[-1]

    def __call__(self, value: float) -> float:
        share = (self._scale(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)


def _round_step(least: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten that is not below a number."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.3g}"
