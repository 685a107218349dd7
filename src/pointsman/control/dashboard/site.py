"""Site: the dashboard's rows of the table of endpoints, and what each asks of ledger, files and key store."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pointsman.control.callers import CallersApi
from pointsman.control.dashboard import config, frame, limits, live, requests, story, usage
from pointsman.control.dashboard.keys_site import KeysSite
from pointsman.control.dashboard.live import Live
from pointsman.control.door import Keys, address_of, port_of
from pointsman.control.endpoints import Endpoint, Form, Who
from pointsman.control.explanation import Explanation
from pointsman.control.figures import clean
from pointsman.control.measures import gather, readings, standings
from pointsman.control.period import since_ms
from pointsman.control.pump import Counts
from pointsman.control.rates import Rates
from pointsman.control.replies import CODES, Refusal
from pointsman.control.sessions import Sessions, cookie_of, set_cookie
from pointsman.core.policy import Policy
from pointsman.stores.browsing import FIELDS
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import LedgerError, LedgerMissing, Reader
from pointsman.stores.versions import Versions, outcome

MOST_VERSIONS = 200  # listed, the newest
MOST_CHARACTERS = 200  # of what somebody looks for
KEEP = "public, max-age=31536000, immutable"  # assets, whose path changes with them


class Sources(msgspec.Struct, frozen=True):
    """Hold where pages have from what they show. `reader` opens the ledger for who asks; `reload` gives the outcome of a look
    at the config file, None when there was none in time; `explain` finds the request that a path names."""

    data: Path
    stores: Stores
    counts: Counts
    policy: Callable[[], Policy]
    reader: Callable[[Who], Reader]
    explain: Callable[[Request], Explanation]
    reload: Callable[[Who], Awaitable[dict[str, Any] | None]]


class Site:
    """Answer for the pages."""

    def __init__(self, sources: Sources, keys: Keys, sessions: Sessions, rates: Rates, api: CallersApi) -> None:
        self._from, self._keys, self._sessions, self._rates = sources, keys, sessions, rates
        self._keys_site = KeysSite(sources.stores, api)

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        keys = self._keys_site
        return [
            _page("/login", "Ask for a credential.", self.login, access="open"),
            _form("/login", "Begin a session.", self.log_in, access="open"),
            _form("/logout", "End the session.", self.log_out, access="viewer", bound=True),
            _page("/assets/{name}", "Style, script and icon of the pages.", self.asset, access="open"),
            _page("/", "What flows now.", self.live),
            _page("/live", "The part of it that changes.", self.live_part),
            _page("/requests", "The list of requests.", self.requests, bound=True),
            _page("/requests/{id}", "The story of one request.", self.story, bound=True),
            _page("/usage", "Usage and cost by two things.", self.usage, bound=True),
            _page("/usage.csv", "The same as CSV.", self.usage_csv, bound=True),
            _page("/limits", "How quotas and budgets stand.", self.limits),
            _page("/config", "Versions of the config, and what differs.", self.config),
            _form("/config/reload", "Have the config file read again.", self.reload),
            _page("/keys", "The keys of the key store.", keys.page, bound=True),
            _form("/keys", "Make a key.", keys.make, bound=True),
            _form("/keys/{id}/rotate", "Give a key another text.", keys.rotate, bound=True),
            _form("/keys/{id}/revoke", "End a key for good.", keys.revoke, bound=True),
        ]

    # --- who
    def login(self, request: Request) -> Response:
        return HTMLResponse(frame.login_page(_local(request.query_params.get("next", "/"))))

    async def log_in(self, request: Request, form: Form) -> Response:
        """Begin a session for who has a credential; tell who has none."""
        credential, next_path = form.get("credential", "").strip().encode(), _local(form.get("next", "/"))
        try:
            who = await self._keys.let(credential, address_of(request.scope))
        except Refusal as refusal:
            wait = f" Wait {refusal.param} seconds." if refusal.code == "too_many_tries" else ""
            said = {"unauthorized": "This is neither the admin token nor an admin key that is good."}
            text = said.get(refusal.code, f"{str(refusal).capitalize()}.{wait}")
            reply: Response = HTMLResponse(frame.login_page(next_path, text), CODES[refusal.code])
            if wait:
                reply.headers["retry-after"] = str(refusal.param)
            return reply
        if next_path == "/" and who.organisation:
            next_path = "/requests"
        reply = RedirectResponse(next_path, 303)
        text = self._sessions.open(credential)
        reply.headers["set-cookie"] = set_cookie(port_of(request.scope), text, secure=_by_https(request))
        return reply

    def log_out(self, request: Request, form: Form) -> Response:
        port = port_of(request.scope)
        self._sessions.end(cookie_of(request.headers.get("cookie", ""), port))
        reply = RedirectResponse("/login", 303)
        reply.headers["set-cookie"] = set_cookie(port, "", secure=_by_https(request))
        return reply

    def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in frame.ASSETS:
            raise HTTPException(404, "there is no such file")
        return Response(frame.asset(name), media_type=frame.ASSETS[name], headers={"cache-control": KEEP})

    # --- now
    def live(self, request: Request) -> Response:
        return HTMLResponse(live.live_page(frame.shell_of(request), self._live()))

    def live_part(self, request: Request) -> Response:
        return HTMLResponse(live.live_part(self._live()))

    def _live(self) -> Live:
        metrics, _ = gather(self._from.data)
        rates, over_s = self._rates.now(metrics)
        return Live(
            policy=self._from.policy(),
            parts=standings(self._from.data),
            rates=rates,
            over_s=over_s,
            active=metrics.active,
            lag_bytes=self._from.counts.lag_bytes,
            reload=outcome(self._from.data),
            alerts=list(self._rates.alerts)[::-1],
        )

    def limits(self, request: Request) -> Response:
        return HTMLResponse(
            limits.limits_page(frame.shell_of(request), self._from.policy().quotas, readings(self._from.data))
        )

    # --- the ledger
    def requests(self, request: Request) -> Response:
        """Return the list. What the ledger cannot answer is said on the page, beside what was looked for."""
        given = _given(request)
        before = given.get("before", "")
        wish = requests.Wish(
            q=given.get("q", "").strip(),
            since=given.get("since", ""),
            outcome=given.get("outcome", ""),
            where={name: given[name].strip() for name in requests.FILTERS if given.get(name, "").strip()},
            before=int(before) if before.isdecimal() and len(before) < 19 else 0,
        )
        start_ms = _since(wish.since) if wish.since else 0
        shell = frame.shell_of(request)
        try:
            with self._reader(request) as reader:
                if wish.q and " " not in wish.q and not wish.before:
                    ids = reader.find(wish.q)
                    if len(ids) == 1:
                        return RedirectResponse(f"/requests/{ids[0]}", 303)
                found = reader.search(wish.search(start_ms))
        except LedgerError as error:
            return HTMLResponse(requests.requests_page(shell, wish, None, _trouble(error)), 503)
        return HTMLResponse(requests.requests_page(shell, wish, found))

    def story(self, request: Request) -> Response:
        made = self._from.explain(request)
        prices = {one.name: one.price for one in self._from.policy().deployments if one.price is not None}
        return HTMLResponse(story.story_page(frame.shell_of(request), made, prices))

    def usage(self, request: Request) -> Response:
        """Return the sums, and the same over time."""
        wish, now_ms = _usage_wish(_given(request)), time.time_ns() // 1_000_000
        start_ms, shell = _since(wish.since), frame.shell_of(request)
        try:
            with self._reader(request) as reader:
                rows, total = reader.sums(wish.sums(start_ms, now_ms))
                line, _ = reader.sums(wish.line(start_ms, now_ms))
        except LedgerError as error:
            return HTMLResponse(usage.usage_page(shell, wish, None, _trouble(error)), 503)
        return HTMLResponse(usage.usage_page(shell, wish, (rows, total, line)))

    def usage_csv(self, request: Request) -> Response:
        wish, now_ms = _usage_wish(_given(request)), time.time_ns() // 1_000_000
        with self._reader(request) as reader:
            rows, _ = reader.sums(wish.sums(_since(wish.since), now_ms, usage.MOST_CSV))
        given = {"content-disposition": 'attachment; filename="usage.csv"'}
        return Response(usage.csv_of(wish, rows), media_type="text/csv", headers=given)

    def _reader(self, request: Request) -> Reader:
        return self._from.reader(request.scope["state"]["who"])

    # --- the config
    def config(self, request: Request) -> Response:
        given = _given(request)
        return HTMLResponse(self._config(request, given.get("a", ""), given.get("b", "")))

    async def reload(self, request: Request, form: Form) -> Response:
        """Have the config file read again, and show what came of it."""
        found = await self._from.reload(request.scope["state"]["who"])
        if found is None:
            told = "No outcome yet: the reload goes on. Load this page again."
        else:
            told = f"Served: version {found['version']}." if found["ok"] else "Not changed: the file is not valid."
        return HTMLResponse(self._config(request, "", "", told), 200 if found is None or found["ok"] else 409)

    def _config(self, request: Request, a: str, b: str, told: str = "") -> str:
        versions, policy = Versions(self._from.data), self._from.policy()
        entries = versions.entries()[-MOST_VERSIONS:][::-1]
        known = list(dict.fromkeys(entry["version"] for entry in entries))
        if a not in known or b not in known:  # only these are files of ours
            a, b = (known[1], known[0]) if len(known) > 1 else ("", "")
        made = config.Config(
            version=policy.version,
            source=policy.source,
            last=outcome(self._from.data),
            entries=entries,
            a=a,
            b=b,
            text_a=versions.text(a) if a else None,
            text_b=versions.text(b) if b else None,
            told=told,
        )
        return config.config_page(frame.shell_of(request), made)


def _page(path: str, what: str, handler: Callable[..., Any], **more: Any) -> Endpoint:
    given = {"access": "viewer", **more}
    return Endpoint(method="GET", path=path, what=what, handler=handler, raw=True, page=True, **given)


def _form(path: str, what: str, handler: Callable[..., Any], **more: Any) -> Endpoint:
    given = {"access": "admin", **more}
    return Endpoint(method="POST", path=path, what=what, handler=handler, raw=True, form=True, **given)


def _given(request: Request) -> dict[str, str]:
    return {name: clean(value[:MOST_CHARACTERS]) for name, value in request.query_params.items()}


def _usage_wish(given: dict[str, str]) -> usage.Wish:
    by = tuple(
        dict.fromkeys(name for name in (given.get("by", "route"), given.get("then", "")) if name in usage.CHOICES)
    )
    where = {name: given[name] for name in FIELDS if given.get(name)}
    return usage.Wish(by or ("route",), given.get("since") or "7d", where)


def _since(text: str) -> int:
    return since_ms(text, time.time_ns() // 1_000_000)


def _by_https(request: Request) -> bool:
    """Tell whether the browser has the page by https, from whatever stands in front of us."""
    return request.headers.get("origin", "").startswith("https://")


def _local(path: str) -> str:
    """Return a path of ours to go to; anything else leads to the start."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if plain else "/"


def _trouble(error: LedgerError) -> str:
    if isinstance(error, LedgerMissing):
        return "The ledger is not there yet."
    return f"{error}. Try a shorter time, or less to look for."
