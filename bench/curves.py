"""Curves over time as SVG: a small picture for each, one below the other, all with the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, GAP = 560, 62, 190, 22
_INK, _PAPER, _SHADE = "#2f5d8a", "white", "#eef2f6"


@dataclass(frozen=True, kw_only=True)
class Curve:
    name: str
    unit: str
    points: Sequence[tuple[float, float]]
    """Minutes, and what was measured then."""


def drawn(title: str, curves: Sequence[Curve], *, shaded: tuple[float, float] | None = None) -> str:
    """Each from nought to its own highest value, which is written beside it. `shaded`: minutes from and to that are
    marked in all of them.
    """
    last = max((minute for one in curves for minute, _ in one.points), default=0.0) or 1.0
    size = f'width="{LEFT + WIDTH + 20}" height="{len(curves) * (HEIGHT + GAP) + 70}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, one in enumerate(curves):
        parts += _one(one, 40 + number * (HEIGHT + GAP), last, shaded)
    bottom = 40 + len(curves) * (HEIGHT + GAP)
    parts += [
        f'<text x="{LEFT}" y="{bottom + 6}" text-anchor="middle">0</text>',
        f'<text x="{LEFT + WIDTH}" y="{bottom + 6}" text-anchor="end">{last:.4g} minutes</text>',
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _one(curve: Curve, top: float, last: float, shaded: tuple[float, float] | None) -> list[str]:
    values = [value for _, value in curve.points]
    least, most = (min(values), max(values)) if values else (0.0, 0.0)
    scale = HEIGHT / most if most else 0.0
    line = " ".join(
        f"{LEFT + minute / last * WIDTH:.1f},{top + HEIGHT - value * scale:.1f}" for minute, value in curve.points
    )
    frame = f'x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [f'<rect {frame} fill="none" stroke="#c8d0d8"/>']
    if shaded:
        begin, end = (LEFT + minute / last * WIDTH for minute in shaded)
        parts.append(f'<rect x="{begin:.1f}" y="{top}" width="{end - begin:.1f}" height="{HEIGHT}" fill="{_SHADE}"/>')
    said = f"{_short(least)} to {_short(most)} {curve.unit}".rstrip()
    return [
        *parts,
        f'<text x="{LEFT - 8}" y="{top + 26}" text-anchor="end">{escape(curve.name)}</text>',
        f'<text x="{LEFT - 8}" y="{top + 44}" text-anchor="end" fill="#5a6672">{escape(said)}</text>',
        f'<polyline points="{line}" fill="none" stroke="{_INK}" stroke-width="1.5"/>',
    ]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
