"""Config: the versions that were served, and what differs between two of them. Pure: values in, HTML out."""

from __future__ import annotations

import difflib
from typing import Any

import msgspec

from pointsman.control.dashboard.frame import Shell, framed, moment, secret_fields, select, to
from pointsman.control.figures import clean
from pointsman.control.html import Child, Html, el, table
from pointsman.stores.versions import Entry

MOST_LINES = 5_000  # of a diff


class Config(msgspec.Struct, frozen=True):
    """Hold all that the page shows. `entries`: the newest first; `a`, `b`: versions to compare, with their texts,
    None where there is none."""

    version: str
    source: str
    last: dict[str, Any]
    entries: list[Entry]
    a: str = ""
    b: str = ""
    text_a: str | None = None
    text_b: str | None = None
    told: str = ""  # what came of a reload that was just asked for


def config_page(shell: Shell, config: Config) -> str:
    """Return the page."""
    parts: list[Child] = [
        el("p", config.told, class_="notice", role="status") if config.told else None,
        *_last(config.last),
    ]
    if shell.may_change:
        button = el("button", "Read the config file again", type="submit")
        parts.append(el("form", secret_fields(shell), button, method="post", action="/config/reload", class_="inline"))
    parts += [el("h2", "What differs"), _choose(config), *_difference(config), el("h2", "Versions"), _versions(config)]
    served = el("span", "served: ", el("code", config.version), f" from {clean(config.source)}", class_="quiet")
    return framed(shell, "Config", *parts, aside=served)


def _last(last: dict[str, Any]) -> list[Child]:
    lines: list[Child] = [el("p", clean(str(text)), class_="notice") for text in last.get("restart", ())]
    if not last.get("ok", True):
        at = moment(last["at_ms"])
        lines.append(el("p", "Not changed at ", at, f": {clean(str(last['error']))}", class_="notice bad"))
    return lines


def _choose(config: Config) -> Child:
    names = list(dict.fromkeys(entry["version"] for entry in config.entries))
    if len(names) < 2:
        return el("p", "Only one version was served so far.", class_="empty")
    options = [(name, name + (" (served)" if name == config.version else "")) for name in names]
    return el(
        "form",
        select("a", "From", options, config.a),
        select("b", "to", options, config.b),
        el("button", "Compare", type="submit", class_="primary"),
        method="get",
        action="/config",
        class_="filter",
    )


def _difference(config: Config) -> list[Child]:
    if not config.a or not config.b:
        return []
    if config.text_a is None or config.text_b is None:
        missing = config.a if config.text_a is None else config.b
        why = (
            f"Of version {clean(missing)} no text is kept: it had none, or its secrets could not be told from the rest."
        )
        return [el("p", why, class_="empty")]
    lines = list(difflib.unified_diff(
        config.text_a.splitlines(), config.text_b.splitlines(), config.a, config.b, lineterm="", n=4
    ))  # fmt: skip
    if not lines:
        return [el("p", "Their texts do not differ.", class_="empty")]
    shown = [_line(line) for line in lines[:MOST_LINES]]
    more = el("p", f"{len(lines) - MOST_LINES} more lines.", class_="quiet") if len(lines) > MOST_LINES else None
    return [el("pre", *shown, class_="diff", tabindex="0", aria_label="What differs"), more]


def _line(line: str) -> Html:
    kinds = {"+": "added", "-": "removed", "@": "place"}
    return el("span", clean(line), class_="place" if line.startswith(("+++", "---")) else kinds.get(line[:1], ""))


def _versions(config: Config) -> Html:
    rows: list[tuple[Child, ...]] = []
    following = [*config.entries[1:], None][: len(config.entries)]
    for entry, before in zip(config.entries, following, strict=True):
        name = el("code", entry["version"])
        link = (
            el("a", name, href=to("/config", a=before["version"], b=entry["version"])) if before is not None else name
        )
        served = el("span", "served", class_="good") if entry["version"] == config.version else None
        notes = "secrets left out" if entry["redacted"] else ""
        rows.append(
            (
                link,
                moment(entry["at_ms"]),
                clean(entry["author"]),
                clean(entry["trigger"]),
                clean(entry["source"]),
                served,
                notes,
            )
        )
    return table(
        ("version", "since", "author", "by", "source", "", "text"), rows, "No version was noted yet.", "Versions"
    )
