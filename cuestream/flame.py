"""A flame graph: who spent how much of whose time, as one SVG that stands alone. Every box says its share when pointed at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

WIDTH, ROW, CHARACTER = 1200, 20, 6.6
"""Pixels: of the picture, of a row, and of a letter."""
LEAST = 0.0008
"""A smaller share of the whole is not drawn."""
COLOURS = ("#e4572e", "#f3a712", "#29a19c", "#4f7cac", "#9d6b9d", "#76a35c", "#c06c84")


@dataclass(slots=True)
class Node:
    """seconds: with all of its parts; what they leave is its own."""

    name: str
    seconds: float
    parts: list[Node] = field(default_factory=list)


def svg(root: Node, title: str) -> str:
    """The widest parts first."""
    depth = _depth(root)
    height = (depth + 1) * ROW + 4
    boxes = "\n".join(_boxes(root, root.seconds, 0.0, 1, 0))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="ui-monospace, monospace" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n<text x="4" y="14">{escape(title)}</text>\n{boxes}\n</svg>\n'
    )


def _depth(node: Node) -> int:
    return 1 + max(map(_depth, node.parts), default=0)


def _boxes(node: Node, whole: float, left: float, level: int, colour: int) -> Iterator[str]:
    share = node.seconds / whole if whole else 0.0
    if share < LEAST:
        return
    x, width, y = left * WIDTH, share * WIDTH, level * ROW
    room = int((width - 6) / CHARACTER)
    label = node.name if len(node.name) <= room else node.name[: room - 1] + "…" if room > 2 else ""
    said = escape(f"{node.name}: {node.seconds * 1e3:.2f} ms a second of music, {share:.1%}")
    yield (
        f'<g><title>{said}</title><rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.5):.1f}" height="{ROW - 1}"'
        f' fill="{COLOURS[colour % len(COLOURS)]}" rx="1"/><text x="{x + 3:.1f}" y="{y + 14}">{escape(label)}</text></g>'
    )
    for n, part in enumerate(sorted(node.parts, key=lambda part: -part.seconds)):
        yield from _boxes(part, whole, left, level + 1, n if level == 1 else colour)
        left += part.seconds / whole
