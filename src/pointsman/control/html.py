"""HTML: elements built from values, so that nothing gets into a page unescaped (S15)."""

from __future__ import annotations

from html import escape


class Html(str):
    """Mark text as markup already; only this module makes it."""

    __slots__ = ()


Child = str | Html | int | float | None
_VOID = frozenset({"meta", "link", "br"})


def el(name: str, /, *children: Child, **attributes: str) -> Html:
    """Return an element. Children that are not Html are escaped; `class_` is the attribute `class`, `http_equiv` the
    attribute `http-equiv`; an empty attribute is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items() if value
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """Return children one after the other, escaped where they are not Html."""
    return Html("".join(c if isinstance(c, Html) else escape(str(c)) for c in children if c is not None))


def table(head: tuple[str, ...], rows: list[tuple[Child, ...]], empty: str) -> Html:
    """Return a table. A head that begins with `>` is a column of numbers. Without rows: `empty`."""
    if not rows:
        return el("p", empty, class_="quiet")
    sides = ["number" if title.startswith(">") else "" for title in head]
    titles = [el("th", title.lstrip(">"), class_=side, scope="col") for title, side in zip(head, sides, strict=True)]
    body = [el("tr", *[el("td", cell, class_=side) for cell, side in zip(row, sides, strict=True)]) for row in rows]
    return el("div", el("table", el("thead", el("tr", *titles)), el("tbody", *body)), class_="scroll")


def page(title: str, *body: Child, refresh_s: int = 0) -> str:
    """Return a whole document. It loads nothing but /style.css."""
    head = join(
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="refresh", content=str(refresh_s)) if refresh_s else None,
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("link", rel="stylesheet", href="/style.css"),
    )
    return "<!doctype html>\n" + el("html", el("head", head), el("body", el("main", *body)), lang="en")


STYLE = """
:root { --back: #fbfaf8; --text: #1d2226; --quiet: #66707a; --line: #e2dfd9; --card: #fff; --link: #1c5d99;
  --good: #1f7a4d; --bad: #b3261e; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --text: #e4e7ea; --quiet: #98a2ac; --line: #2b3137;
  --card: #1b1f23; --link: #7fb8ec; --good: #6fcf97; --bad: #f28b82; --warn: #e5b567; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 14px/1.5 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 20px 24px 48px; }
h1 { font-size: 20px; margin: 0 12px 0 0; } h2 { font-size: 15px; margin: 28px 0 8px; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; }
.quiet { color: var(--quiet); } .good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px; margin: 18px 0 0; }
.cards > div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.cards b { display: block; font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--quiet); }
th, td { padding: 5px 12px; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; } tbody tr:hover { background: var(--back); }
.number { text-align: right; } code { font: 12px ui-monospace, monospace; }
pre { font: 12px/1.5 ui-monospace, monospace; margin: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 600px) { main { padding: 14px 12px 32px; } }
"""
