"""Stored: what is stored of one request and its answer. Pure: values in, HTML out."""

from __future__ import annotations

import json

from pointsman.control.dashboard.cells import facts, notice
from pointsman.control.dashboard.frame import Shell, framed, moment, secret_fields
from pointsman.control.figures import clean
from pointsman.control.html import Child, Html, el
from pointsman.stores.bodies import Body


def stored_page(shell: Shell, body: Body) -> str:
    """Return the page."""
    path = f"/requests/{body.id}"
    return framed(
        shell,
        "Request and answer",
        facts(
            {
                "request": el("a", el("code", clean(body.id)), href=path),
                "at": moment(body.at_ms),
                "goes at": moment(body.until_ms),
                "route": clean(body.route),
                "outcome": clean(body.outcome),
                "key": clean(body.caller[0]),
            }
        ),
        notice(f"Not there whole: {body.left_out}." if body.left_out else ""),
        el("h2", "Request"),
        _text(body.request, "Request"),
        el("h2", "Answer"),
        _text(body.answer, "Answer"),
        _delete(shell, path),
    )


def _text(text: str, name: str) -> Child:
    if not text:
        return el("p", "Nothing is stored of it.", class_="empty")
    return el("pre", _laid_out(text), class_="panel stored", tabindex="0", role="region", aria_label=name)


def _laid_out(text: str) -> str:
    """Return JSON a member a line; what is none, or was cut, as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _delete(shell: Shell, path: str) -> Html | None:
    if not (shell.may_read_bodies and shell.csrf):
        return None
    button = el("button", "Delete it", type="submit", class_="danger")
    return el("form", secret_fields(shell), button, method="post", action=f"{path}/bodies")
