"""HTML: elements built from values, so that nothing gets into a page unescaped (S15)."""

from __future__ import annotations

from html import escape


class Html(str):
    """Mark text as markup already; only this module makes it."""

    __slots__ = ()


Child = str | Html | int | float | None
_VOID = frozenset({"meta", "link", "br", "input"})


def el(name: str, /, *children: Child, **attributes: str) -> Html:
    """Return an element. Children that are not Html are escaped; `class_` is the attribute `class`, `http_equiv` the
    attribute `http-equiv`; an empty attribute is left out, but for `value`."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value or key == "value"
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """Return children one after the other, escaped where they are not Html."""
    return Html("".join(c if isinstance(c, Html) else escape(str(c)) for c in children if c is not None))


def table(head: tuple[str, ...], rows: list[tuple[Child, ...]], empty: str, name: str = "") -> Html:
    """Return a table. A head that begins with `>` is a column of numbers; `name` is what it is called for
    those who hear it. Without rows: `empty`."""
    if not rows:
        return el("p", empty, class_="empty")
    sides = ["number" if title.startswith(">") else "" for title in head]
    titles = [el("th", title.lstrip(">"), class_=side, scope="col") for title, side in zip(head, sides, strict=True)]
    body = [el("tr", *[el("td", cell, class_=side) for cell, side in zip(row, sides, strict=True)]) for row in rows]
    made = el("table", el("caption", name) if name else None, el("thead", el("tr", *titles)), el("tbody", *body))
    return el("div", made, class_="scroll", tabindex="0", role="region", aria_label=name or "table")


def document(head: Html, body: Html) -> str:
    """Return a whole document."""
    first = join(
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
    )
    return "<!doctype html>\n" + el("html", el("head", first, head), body, lang="en")
