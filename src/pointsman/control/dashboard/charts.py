"""Charts: small drawings as SVG, of values alone; colours and fonts are those of the style sheet."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.control.figures import clean, milliseconds
from pointsman.control.html import Child, Html, el, join

WIDE, ROW, BOX, HIGH = 760, 52, 236, 40  # of the map, in units of the drawing
LINE, LINE_ROW, LINE_LEFT = 760, 26, 170  # of a time line


class Node(msgspec.Struct, frozen=True):
    """Hold a box of the map: its name, what stands below it, and how it is: good, warn, bad or nothing."""

    name: str
    told: str
    state: str = ""


class Edge(msgspec.Struct, frozen=True):
    """Hold a way between two boxes, by their places; `weight` is 0 to 1, 0: nothing goes there."""

    start: int
    end: int
    weight: float
    state: str
    told: str


class Point(msgspec.Struct, frozen=True):
    """Hold a column of a chart: its label, its lower and its upper part, what it says, and where it leads, "" for nowhere."""

    label: str
    low: float
    high: float
    told: str
    href: str = ""


def svg(name: str, width: float, height: float, *parts: Child, class_: str) -> Html:
    """Return a drawing; `name` is what it is called for those who do not see it."""
    return el("svg", el("title", name), *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", class_=class_)


def flow(routes: list[Node], deployments: list[Node], edges: list[Edge]) -> Html:
    """Return the map: routes at the left, deployments at the right, what flows between them."""
    height = max(len(routes), len(deployments), 1) * ROW
    paths = [
        el(
            "path",
            el("title", edge.told),
            d=f"M{BOX} {_middle(edge.start):g} C{WIDE / 2:g} {_middle(edge.start):g} {WIDE / 2:g} {_middle(edge.end):g} "
            f"{WIDE - BOX} {_middle(edge.end):g}",
            stroke_width=f"{1.5 + 8 * edge.weight:.1f}",
            class_=edge.state if edge.weight else "idle",
        )
        for edge in edges
    ]
    boxes = [_box(node, place, 1) for place, node in enumerate(routes)]
    boxes += [_box(node, place, WIDE - BOX) for place, node in enumerate(deployments)]
    return svg("Routes, and the deployments that they send to", WIDE, height, *paths, *boxes, class_="map")


def share(value: float, state: str = "") -> Html:
    """Return a bar that is full at 1.0; `state`: near or over."""
    width = 100 * min(1.0, max(0.0, value))
    full = el("rect", width="100", height="8", rx="3", class_="rest")
    part = el("rect", width=f"{width:.1f}", height="8", rx="3", class_=state)
    return el("svg", full, part, viewBox="0 0 100 8", width="100", height="8", class_="share", aria_hidden="true")


def columns(name: str, points: list[Point]) -> Html:
    """Return a chart of columns. Those that lead somewhere are no stops of the keyboard: the table beside has the same ways."""
    top = max((one.low + one.high for one in points), default=0)
    wide, high_px = 760.0, 130.0
    step = wide / max(len(points), 1)
    parts: list[Child] = [el("line", x1="0", x2=f"{wide:g}", y1=f"{high_px:g}", y2=f"{high_px:g}")]
    every = max(1, -(-len(points) // 8))
    for n, one in enumerate(points):
        low, high = ((high_px - 6) * value / top if top else 0.0 for value in (one.low, one.high))
        x, width = f"{n * step + step * 0.12:.1f}", f"{step * 0.76:.1f}"
        drawn = [
            el("title", one.told),
            el("rect", x=x, width=width, y="0", height=f"{high_px:g}", class_="reach") if one.href else None,
            el("rect", x=x, width=width, y=f"{high_px - low:.1f}", height=f"{low:.1f}"),
            el("rect", x=x, width=width, y=f"{high_px - low - high:.1f}", height=f"{high:.1f}", class_="second"),
            el("text", one.label, x=x, y=f"{high_px + 14:g}") if n % every == 0 and float(x) < wide - 75 else None,
        ]
        parts.append(el("a", *drawn, href=one.href, tabindex="-1") if one.href else el("g", *drawn))
    return join(el("p", name, class_="quiet small"), svg(name, wide, high_px + 20, *parts, class_="chart"))


def time_line(attempts: list[dict[str, Any]], total_us: int) -> Html:
    """Return the attempts of a request on one time line: waiting for the first content, then content."""
    until_us = max([total_us, *(a["started_us"] + a["total_us"] for a in attempts), 1])
    scale = (LINE - LINE_LEFT - 8) / until_us
    height = len(attempts) * LINE_ROW + 22
    parts: list[Child] = []
    for n in range(5):
        x = LINE_LEFT + n * until_us * scale / 4
        anchor = "end" if n == 4 else "start" if n == 0 else "middle"
        parts.append(el("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1="0", y2=f"{height - 18}", class_="grid"))
        parts.append(
            el(
                "text",
                milliseconds(until_us * n // 4) if n else "0 ms",
                x=f"{x:.1f}",
                y=f"{height - 4}",
                text_anchor=anchor,
            )
        )
    for n, a in enumerate(attempts):
        y, start = n * LINE_ROW + 5, LINE_LEFT + a["started_us"] * scale
        wait = (a["ttft_us"] or a["total_us"]) * scale
        rest = max(0.0, a["total_us"] * scale - wait) if a["ttft_us"] else 0.0
        failed = a["outcome"] != "ok"
        first, whole = milliseconds(a["ttft_us"]), milliseconds(a["total_us"])
        said = f"{a['deployment']}: {a['outcome']}, first content {first}, total {whole}"
        parts.append(el(
            "g", el("title", clean(said)),
            el("text", clip(f"{a['n']}  {a['deployment']}", 22), x="0", y=f"{y + 12}", class_="name"),
            _span(start, y, wait, "failed" if failed and not rest else "wait"),
            _span(start + wait, y, rest, "failed" if failed else "content") if rest else None,
        ))  # fmt: skip
    return svg("The attempts in time", LINE, height, *parts, class_="line")


def clip(text: str, most: int) -> str:
    """Return a text that is cut where it is longer."""
    text = clean(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _span(x: float, y: float, width: float, class_: str) -> Html:
    return el("rect", x=f"{x:.1f}", y=f"{y:g}", width=f"{max(width, 1.5):.1f}", height="15", rx="2", class_=class_)


def _middle(place: int) -> float:
    return place * ROW + ROW / 2


def _box(node: Node, place: int, x: int) -> Html:
    y = place * ROW + (ROW - HIGH) / 2
    return el(
        "g",
        el("title", clean(f"{node.name}: {node.told}")),
        el(
            "rect",
            x=str(x),
            y=f"{y:g}",
            width=str(BOX - 1),
            height=str(HIGH),
            rx="6",
            class_=f"box {node.state}".strip(),
        ),
        el("text", clip(node.name, 28), x=str(x + 10), y=f"{y + 17:g}", class_="name"),
        el(
            "text",
            clip(node.told, 40),
            x=str(x + 10),
            y=f"{y + 32:g}",
            class_=node.state if node.state != "good" else "",
        ),
    )
