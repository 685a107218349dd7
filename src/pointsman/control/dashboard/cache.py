"""Cache: answers given again, by route: how often, what that saved, and how far similar ones can be trusted. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.control.dashboard import cells
from pointsman.control.dashboard.frame import Shell, framed, moment, to
from pointsman.control.figures import clean, count, money
from pointsman.control.html import Child, Html, el, table
from pointsman.control.similar import Row
from pointsman.core.policy import Policy
from pointsman.stores.browsing import Sum

MEASURES = ("requests", "saved_nano", "saved_unpriced")
LOOKED_NOT = ("", "off")  # of the column `cache`: no answer was looked for
HITS = {"hit": "the same", "semantic": "similar"}


class Kept(msgspec.Struct, frozen=True):
    """Hold what the workers keep in memory now."""

    entries: int
    bytes: int
    errors: int


class Cache(msgspec.Struct, frozen=True):
    """Hold all that the page shows. `rows`: requests of the window by route and what was found, None when they did not come in
    time; `months`: sums of this UTC month by route; `similar` and `kept` are None for who sees one organisation alone."""

    policy: Policy
    window: str
    rows: list[dict[str, Any]] | None
    months: list[Sum]
    similar: list[Row] | None
    kept: Kept | None
    trouble: str = ""


def cache_page(shell: Shell, cache: Cache) -> str:
    """Return the page."""
    parts: list[Child] = [cells.windows("/cache", cache.window), cells.notice(cache.trouble), _cards(cache)]
    if cache.rows is not None:
        parts += [el("h2", "Routes"), _routes(cache)]
    if cache.similar is not None:
        parts += [el("h2", "Answers to similar questions"), _similar(cache.similar)]
    return framed(shell, "Cache", *parts)


def _cards(cache: Cache) -> Html:
    found = [row for row in cache.rows or () if row["cache"] not in LOOKED_NOT]
    looked, hits = sum(row["requests"] for row in found), _hits(found)
    saved = sum(row["saved_nano"] for row in found)
    month = sum(one.saved_nano for one in cache.months)
    again = sum(one.hits for one in cache.months)
    span = cells.WINDOWS[cache.window]
    made: cells.Cards = [
        ("Given again", cells.percent(hits / looked if looked else None), f"of {count(looked)} looked for, {span}", ""),
        ("Saved", money(saved), span, ""),
        ("Saved this month", money(month), f"by {count(again)} answers, UTC", ""),
    ]
    if cache.kept is not None:
        size = f"{cache.kept.bytes / 1_048_576:.1f} MiB"
        made.append(("Kept in memory", count(cache.kept.entries), f"answers, {size}, of all workers", ""))
        state = "warn" if cache.kept.errors else ""
        made.append(("Not written", count(cache.kept.errors), "for other workers and restarts", state))
    return cells.cards(made)


def _hits(rows: list[dict[str, Any]]) -> int:
    return sum(row["requests"] for row in rows if row["cache"] in HITS)


def _routes(cache: Cache) -> Html:
    by_route: dict[str, list[dict[str, Any]]] = {
        name: [] for name, route in cache.policy.routes.items() if route.cache is not None and not route.hidden
    }
    for row in cache.rows or ():
        if row["cache"] not in LOOKED_NOT:
            by_route.setdefault(row["route"], []).append(row)
    rows: list[tuple[Child, ...]] = []
    for name, found in sorted(by_route.items(), key=lambda pair: -sum(row["saved_nano"] for row in pair[1])):
        looked, route = sum(row["requests"] for row in found), cache.policy.routes.get(name)
        kinds = {row["cache"]: row["requests"] for row in found}
        unpriced = sum(row["saved_unpriced"] for row in found)
        saved: Child = money(sum(row["saved_nano"] for row in found))
        if unpriced:
            saved = el("span", saved, el("span", f" + {count(unpriced)} unpriced", class_="warn"))
        rows.append((
            el("a", clean(name), href=to("/usage", route=name, show="cache", by="key", since=cache.window)),
            _how(route.cache) if route is not None and route.cache is not None else "keeps none now",
            count(looked),
            *[count(kinds.get(kind, 0)) for kind in HITS],
            cells.part(_hits(found) / looked) if looked else "-",
            saved,
        ))  # fmt: skip
    head = ("route", "keeps", ">looked for", *[f">{told}" for told in HITS.values()], "given again", ">saved")
    return table(
        head, rows, "No route keeps answers: `cache` in a route of the config does.", "Routes that keep answers"
    )


def _how(cache: Any) -> str:
    similar = "" if cache.semantic is None else f", similar from {cache.semantic.threshold:g} on"
    return f"{cache.ttl_s:g} s, for each {cache.scope}{similar}"


def _similar(found: list[Row]) -> Html:
    rows: list[tuple[Child, ...]] = []
    for one in found:
        state = "off" if one.off else "over" if one.wrong_low > one.wrong_hits else ""
        word = {"off": "bad", "over": "bad"}.get(state, "")
        rows.append((
            clean(one.route),
            clean(one.embeddings),
            el("span", "off" if one.off else f"{one.threshold:.3f}", class_=word),
            str(one.judged),
            str(one.wrong),
            f"{one.wrong_low:.2%} to {one.wrong_high:.2%}",
            f"{one.wrong_hits:.2%}",
            f"{one.wrong_ever} of {one.judged_ever}",
            str(one.down),
            f"{one.tightened} up, {one.eased} down",
            moment(one.changed_ms) if one.changed_ms else "never",
        ))  # fmt: skip
    head = ("route", "vectors", ">threshold", ">judged", ">wrong", "95 % interval", ">bound", ">wrong in all",
            ">by feedback", "threshold moved", "last")  # fmt: skip
    empty = "No answer to a similar question has been judged yet: no route has `semantic`, or no check."
    return table(head, rows, empty, "Answers to similar questions")
