"""Notices: what happened, the newest first, and which channel was told of it. Pure: values in, HTML out."""

from __future__ import annotations

import msgspec

from pointsman.control.dashboard.cells import notice
from pointsman.control.dashboard.frame import Shell, framed, moment, select, to
from pointsman.control.dashboard.requests import PERIODS
from pointsman.control.figures import clean
from pointsman.control.html import Child, Html, el, join, table
from pointsman.core.notice import KINDS, Noted, Told

LISTED = 50
STATES = {
    "waiting": ("is told", "warn"),
    "delivered": ("told", "good"),
    "failed": ("not told", "bad"),
    "held_back": ("held back", "quiet"),
}


class Wish(msgspec.Struct, frozen=True):
    """Hold what somebody looks for, as it stands in the address; `before`: only rows with a lower number, 0 for all."""

    kind: str = ""
    since: str = ""
    before: int = 0

    def link(self, before: int) -> str:
        return to("/notices", kind=self.kind, since=self.since, before=before)


def notices_page(shell: Shell, wish: Wish, found: list[Noted], following: int = 0, trouble: str = "") -> str:
    """Return the page; `following`: where the next one begins, 0 when nothing is left."""
    empty = "None is like that." if wish.kind or wish.since or wish.before else "Nothing has happened that is told."
    head = ("at", "kind", "about", "what", "channels")
    rows: list[tuple[Child, ...]] = [
        (moment(one.at_ms), one.notice.kind, el("code", clean(one.notice.subject)), _said(one), _channels(one))
        for one in found
    ]
    links: list[Child] = [el("a", "Newest", href=wish.link(0))] if wish.before else []
    if following:
        links.append(el("a", "Older", href=wish.link(following), rel="next"))
    return framed(
        shell,
        "Notices",
        notice(trouble),
        _form(wish),
        None if trouble else table(head, rows, empty, "Notices, the newest first"),
        el("p", *links, class_="pager") if links else None,
    )


def _form(wish: Wish) -> Html:
    kinds = [("", "any"), *((kind, kind.replace("_", " ")) for kind in KINDS)]
    return el(
        "form",
        select("kind", "Kind", kinds, wish.kind),
        select("since", "Time", list(PERIODS.items()), wish.since),
        el("button", "Find", type="submit", class_="primary"),
        method="get",
        action="/notices",
        class_="filter",
        role="search",
    )


def _said(one: Noted) -> Child:
    text = clean(one.notice.text)
    if not one.repeated:
        return el("div", text, class_="text")
    times = "once" if one.repeated == 1 else f"{one.repeated} times"
    again = el("span", f" and {times} more, the last at ", moment(one.last_ms), class_="quiet small")
    return el("div", text, again, class_="text")


def _channels(one: Noted) -> Child:
    if not one.told:
        return el("span", "no channel wants it", class_="quiet")
    return join(*[el("div", clean(name), ": ", *_became(told), class_="text") for name, told in one.told.items()])


def _became(told: Told) -> list[Child]:
    word, state = STATES[told.state]
    made: list[Child] = [el("span", word, class_=state)]
    if told.tries > 1 or (told.tries and told.state != "delivered"):
        made.append(f", tried {'once' if told.tries == 1 else f'{told.tries} times'}")
    if told.reason:
        made.append(f": {clean(told.reason)}")
    return made
