"""Page: a sheet as HTML: one file without anything beside it, made to be printed."""

from __future__ import annotations

from pointsman.control.billing.sheet import Sheet
from pointsman.control.html import Html, document, el, join, table

STYLE = Html(
    "body{font:14px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}"
    "h1{font-size:1.6rem;margin:0 0 1rem}header,.parties{display:flex;justify-content:space-between;gap:2rem;flex-wrap:wrap}"
    "dl{display:grid;grid-template-columns:auto auto;gap:.1rem 1rem;margin:0}dt{color:#555}dd{margin:0;text-align:right}"
    "address{font-style:normal;white-space:pre-line}h2{font-size:.8rem;color:#555;margin:1.5rem 0 .2rem;font-weight:600}"
    "table{border-collapse:collapse;width:100%;margin:1.5rem 0 0}caption{display:none}"
    "th,td{padding:.25rem .5rem;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
    ".number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".warning{border:1px solid #a60;padding:.5rem .8rem;margin:1.5rem 0 0}.sums{width:auto;margin-left:auto}"
    ".sums tr:last-child td{font-weight:700;border-bottom:0}.note{white-space:pre-line}.scroll{overflow-x:auto}"
    "@media print{body{margin:0;max-width:none;font-size:10px}tr{break-inside:avoid}thead{display:table-header-group}}"
)  # fmt: skip


def html_of(sheet: Sheet) -> str:
    """Return the whole document."""
    title = f"{sheet.title} {sheet.number}".strip()
    head = join(el("title", title), el("style", STYLE))
    facts = el("dl", *[part for name, value in sheet.head for part in (el("dt", name), el("dd", value))])
    parties = [
        el("div", el("h2", name), el("address", "\n".join(lines)))
        for name, lines in (("From", sheet.issuer), ("To", sheet.customer))
        if lines
    ]
    sums = [el("tr", el("td", name), el("td", value, class_="number")) for name, value in sheet.sums]
    body = el(
        "body",
        el("header", el("h1", title), facts),
        el("div", *parties, class_="parties"),
        el("p", sheet.warning, class_="warning", role="alert") if sheet.warning else None,
        table(tuple(one.replace("> ", ">") for one in sheet.columns), [*sheet.rows], "Nothing was used.", "Lines"),
        el("table", el("tbody", *sums), class_="sums"),
        el("p", sheet.end, class_="note") if sheet.end else None,
    )
    return document(head, body)
