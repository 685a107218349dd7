"""Frame: what stands around every page: its head, the way to the other pages, who is logged in, the help."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request

from pointsman.control.html import Child, Html, document, el, join

if TYPE_CHECKING:
    from pointsman.control.endpoints import Who

ASSETS = {"dashboard.css": "text/css", "dashboard.js": "text/javascript", "icon.svg": "image/svg+xml"}
# Path, name, the letter that leads there after g, whether admin keys of one organisation may.
PAGES = (
    ("/", "Live", "l", False),
    ("/requests", "Requests", "r", True),
    ("/usage", "Usage", "u", True),
    ("/routes", "Routes", "o", False),
    ("/providers", "Providers", "p", False),
    ("/limits", "Limits", "b", True),
    ("/cache", "Cache", "h", True),
    ("/billing", "Billing", "i", True),
    ("/notices", "Notices", "n", False),
    ("/config", "Config", "c", False),
    ("/keys", "Keys", "k", True),
    ("/audit", "Audit", "a", True),
)
_KEYS = (
    ("?", "this help"),
    ("/", "search"),
    ("j, k", "next, previous row"),
    ("Enter", "open the row"),
    ("t", "light, dark, as the system has it"),
    ("Esc", "close"),
)


class Shell(msgspec.Struct, frozen=True):
    """Hold what a page says around itself. `csrf` goes into every form that changes something."""

    who: Who | None = None
    csrf: str = ""
    path: str = ""

    @property
    def start(self) -> str:
        return "/requests" if self.who is not None and self.who.organisation else "/"

    @property
    def may_change(self) -> bool:
        return self.who is not None and self.who.role == "admin" and bool(self.csrf)

    @property
    def may_read_bodies(self) -> bool:
        return self.who is not None and self.who.may("bodies")


def shell_of(request: Request) -> Shell:
    """Return the shell of a page that was asked for."""
    state = request.scope.get("state", {})
    session = state.get("session")
    return Shell(state.get("who"), session.csrf if session is not None else "", request.url.path)


@cache
def asset(name: str) -> bytes:
    """Return one of ASSETS."""
    return resources.files(__package__).joinpath("assets", name).read_bytes()


@cache
def asset_path(name: str) -> str:
    """Return where an asset is served; the path changes with it, so that a browser may keep it."""
    return f"/assets/{name}?v={hashlib.sha256(asset(name)).hexdigest()[:12]}"


def framed(shell: Shell, title: str, *body: Child, aside: Child = None, refresh_s: int = 0) -> str:
    """Return a page. `aside` stands beside its title; where there is no script it is loaded again every `refresh_s`."""
    again = el("meta", http_equiv="refresh", content=str(refresh_s)) if refresh_s else None
    head = join(
        el("title", f"{title} · Pointsman"),
        el("link", rel="icon", href=asset_path("icon.svg")),
        el("link", rel="stylesheet", href=asset_path("dashboard.css")),
        el("script", src=asset_path("dashboard.js")),
        el("noscript", again) if again else None,
    )
    main = el("main", el("div", el("h1", title), aside, class_="title"), *body, id="main", tabindex="-1")
    foot = el(
        "footer", "Times in ", el("span", "UTC", id="zone"), "; UTC where the pointer rests. Keys: ", el("kbd", "?")
    )
    skip = el("a", "To the content", href="#main", class_="skip")
    return document(head, el("body", skip, _top(shell), main, foot, _help(shell)))


def message_page(shell: Shell, title: str, text: str) -> str:
    """Return a page that says one thing."""
    back = el("p", el("a", "Back to the start", href=shell.start))
    return framed(shell, title, el("p", text, class_="empty"), back)


def login_page(next_path: str, trouble: str = "") -> str:
    """Return the page that asks for a credential."""
    field = el(
        "input", type="password", name="credential", id="credential", autocomplete="current-password",
        required="required", autofocus="autofocus", maxlength="8192", aria_describedby="trouble" if trouble else "",
    )  # fmt: skip
    form = el(
        "form",
        el("input", name="username", value="admin", autocomplete="username", hidden="hidden"),  # for password stores
        el("label", "Admin token or admin key", for_="credential"),
        field,
        el("p", trouble, class_="bad", id="trouble", role="alert") if trouble else None,
        el("input", type="hidden", name="next", value=next_path),
        el("button", "Log in", type="submit", class_="primary"),
        method="post",
        action="/login",
        class_="login",
    )
    hint = el("p", "The token is what ", el("code", "pointsman admin token"), " prints.", class_="quiet")
    return framed(Shell(), "Log in", form, hint)


def pages_of(shell: Shell) -> tuple[tuple[str, str, str, bool], ...]:
    """Return the pages that somebody may see."""
    if shell.who is None:
        return ()
    return tuple(page for page in PAGES if page[3] or not shell.who.organisation)


def moment(at_ms: int | None) -> Html:
    """Return a moment; the script shows it in the zone of the browser."""
    if at_ms is None:
        return el("span", "never", class_="quiet")
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    text = at.strftime("%Y-%m-%d %H:%M:%S")
    return el("time", text, datetime=at.strftime("%Y-%m-%dT%H:%M:%SZ"), title=f"{text} UTC")


def to(path: str, **parameters: object) -> str:
    """Return a link to a page; what is empty is left out."""
    given = {name: value for name, value in parameters.items() if value not in ("", None, 0)}
    return f"{path}?{urlencode(given)}" if given else path


def secret_fields(shell: Shell) -> Html:
    """Return what every form that changes something has in it."""
    return el("input", type="hidden", name="csrf", value=shell.csrf)


def select(name: str, label: str, options: list[tuple[str, str]], chosen: str) -> Html:
    """Return a labelled choice of (value, text)."""
    made = [el("option", text, value=value, selected="selected" if value == chosen else "") for value, text in options]
    return el("label", el("span", label), el("select", *made, name=name))


def field(name: str, label: str, value: str = "", **more: str) -> Html:
    """Return a labelled field."""
    return el("label", el("span", label), el("input", name=name, value=value, **{"type": "text", **more}))


def _top(shell: Shell) -> Html:
    links = [
        el("li", el("a", name, href=path, aria_current="page" if _is_at(shell.path, path) else "", data_key=letter))
        for path, name, letter, _ in pages_of(shell)
    ]
    theme = el("button", "Theme", type="button", id="theme", class_="plain", hidden="hidden")
    parts: list[Child] = [el("a", "Pointsman", href=shell.start, class_="brand")]
    if links:
        parts.append(el("nav", el("ul", *links), aria_label="Pages"))
    parts.append(el("div", *_who(shell), theme, class_="who"))
    return el("header", *parts, class_="top")


def _is_at(path: str, page: str) -> bool:
    return path == page or (page != "/" and path.startswith(page))


def _who(shell: Shell) -> list[Child]:
    if shell.who is None:
        return []
    out = el("button", "Log out", type="submit", class_="plain")
    form = el("form", secret_fields(shell), out, method="post", action="/logout") if shell.csrf else None
    return [el("span", f"{shell.who.name}, {shell.who.role}", class_="quiet"), form]


def _help(shell: Shell) -> Html:
    rows = [*_KEYS, *((f"g {letter}", name) for _, name, letter, _ in pages_of(shell))]
    told = el("dl", *[join(el("dt", el("kbd", keys)), el("dd", what)) for keys, what in rows])
    close = el("form", el("button", "Close", type="submit"), method="dialog")
    return el("dialog", el("h2", "Keys"), told, close, id="help", aria_label="Keys")
