"""Keys: those of the key store: listed, made, rotated, revoked. Pure: values in, HTML out."""

from __future__ import annotations

import msgspec

from pointsman.control.bodies import KeyReply
from pointsman.control.dashboard.frame import Shell, field, framed, moment, secret_fields, select, to
from pointsman.control.figures import clean
from pointsman.control.html import Child, Html, el, table

STATES = {"active": "good", "expired": "warn", "revoked": "quiet"}
GRACES = {"0": "at once", "3600": "in an hour", "86400": "in a day", "604800": "in a week"}
LIVES = {"": "never", "1": "in a day", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}


class Keys(msgspec.Struct, frozen=True):
    """Hold all that the page shows. `projects`: id and path of each; `made`: a key with its text, told this once."""

    rows: list[KeyReply] = []
    next: int = 0
    projects: list[tuple[str, str]] = []
    made: KeyReply | None = None
    trouble: str = ""


def keys_page(shell: Shell, keys: Keys) -> str:
    """Return the page."""
    parts: list[Child] = [el("p", clean(keys.trouble), class_="notice bad", role="alert") if keys.trouble else None]
    if keys.made is not None:
        parts.append(_made(keys.made))
    if shell.may_change:
        parts.append(_new(shell, keys.projects))
    elif shell.who is not None:
        parts.append(el("p", "You may look. Making and ending keys takes the role admin.", class_="quiet"))
    rows = [_row(shell, key) for key in keys.rows]
    head = (
        "key",
        "state",
        "of",
        "begins with",
        "routes",
        "made",
        "ends",
        "last used (UTC day)",
        *(("",) if shell.may_change else ()),
    )
    parts.append(
        table(head, rows, "There are no keys in the store. Those of the config file are not listed here.", "Keys")
    )
    if keys.next:
        parts.append(el("p", el("a", "More", href=to("/keys", after=keys.next)), class_="pager"))
    return framed(shell, "Keys", *parts)


def _made(key: KeyReply) -> Html:
    return el(
        "section",
        el("h2", f"Key {clean(key.booked_as)}"),
        el("p", "This is its text. It is shown now and never again:"),
        el("code", str(key.key), class_="secret", tabindex="0"),
        el("p", "It is in force in every worker within two seconds.", class_="quiet"),
        class_="notice",
        role="status",
    )


def _new(shell: Shell, projects: list[tuple[str, str]]) -> Html:
    form = el(
        "form",
        secret_fields(shell),
        field(
            "name", "Name", required="required", maxlength="64", pattern="[A-Za-z0-9._:@\\-]{1,64}", autocomplete="off"
        ),
        select("project", "Project", [("", "none"), *((id, clean(path)) for id, path in projects)], ""),
        field("routes", "Routes, with commas; empty: all", maxlength="2000"),
        select("days", "Ends", list(LIVES.items()), ""),
        el("button", "Make the key", type="submit", class_="primary"),
        method="post",
        action="/keys",
        class_="edit",
    )
    return el("details", el("summary", "New key"), form)


def _row(shell: Shell, key: KeyReply) -> tuple[Child, ...]:
    routes = "all" if key.routes is None else clean(", ".join(key.routes[:4]))
    cells: tuple[Child, ...] = (
        el("a", clean(key.booked_as), href=to("/requests", key=key.booked_as)),
        el("span", key.state, class_=STATES[key.state]),
        clean(" / ".join(filter(None, (key.organisation, key.team, key.project)))) or "-",
        el("code", clean(key.shown) + "…"),
        routes,
        moment(key.created_ms),
        moment(key.expires_ms),
        key.last_used or el("span", "never", class_="quiet"),
    )
    return (*cells, _acts(shell, key) if key.state != "revoked" else "") if shell.may_change else cells


def _acts(shell: Shell, key: KeyReply) -> Html:
    """Return what may be done with a key: behind a first click, so that nothing ends by accident, also without script."""
    rotate = el(
        "form",
        secret_fields(shell),
        select("grace_s", "The text before ends", list(GRACES.items()), "0"),
        el("button", "Rotate", type="submit"),
        method="post",
        action=f"/keys/{key.id}/rotate",
        class_="edit",
    )
    revoke = el(
        "form",
        secret_fields(shell),
        el("button", "Revoke for good", type="submit", class_="danger"),
        method="post",
        action=f"/keys/{key.id}/revoke",
        class_="inline",
    )
    return el("details", el("summary", "Change"), rotate, revoke)
