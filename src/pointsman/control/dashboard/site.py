"""Site: the dashboard's rows of the table of endpoints, and what each asks of ledger, files and key store."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pointsman.control import questions
from pointsman.control.dashboard import asked, config, explore, frame, limits, live, requests, story, usage
from pointsman.control.dashboard.asked import Sources, form, given, now_ms, page, since, trouble
from pointsman.control.dashboard.live import Live
from pointsman.control.dashboard.usage import Wish
from pointsman.control.door import Keys, address_of, port_of
from pointsman.control.endpoints import Endpoint, Form
from pointsman.control.measures import gather, readings, standings
from pointsman.control.rates import Rates
from pointsman.control.replies import CODES, Refusal
from pointsman.control.reports import TAGGED
from pointsman.control.sessions import Sessions, cookie_of, set_cookie
from pointsman.core.reading import of_organisation
from pointsman.stores.bodies import Bodies
from pointsman.stores.browsing import FIELDS, TIMES, Sum
from pointsman.stores.ledger import LedgerError, Reader
from pointsman.stores.report import END_MS, TAG, Report, ReportError
from pointsman.stores.versions import Versions, outcome

MOST_VERSIONS = 200  # listed, the newest
KEEP = "public, max-age=31536000, immutable"  # assets, whose path changes with them


class Site:
    """Answer for the pages."""

    def __init__(self, sources: Sources, keys: Keys, sessions: Sessions, rates: Rates) -> None:
        self._from, self._keys, self._sessions, self._rates = sources, keys, sessions, rates

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        return [
            page("/login", "Ask for a credential.", self.login, access="open"),
            form("/login", "Begin a session.", self.log_in, access="open"),
            form("/logout", "End the session.", self.log_out, access="viewer", bound=True),
            page("/assets/{name}", "Style, script and icon of the pages.", self.asset, access="open"),
            page("/", "What flows now.", self.live),
            page("/live", "The part of it that changes.", self.live_part),
            page("/requests", "The list of requests.", self.requests, bound=True),
            page("/requests/{id}", "The story of one request.", self.story, bound=True),
            page("/usage", "Usage and cost by two things.", self.usage, bound=True),
            page("/usage.csv", "The same as CSV.", self.usage_csv, bound=True),
            page("/usage.json", "The same as JSON.", self.usage_json, bound=True),
            page("/limits", "How quotas and budgets stand.", self.limits, bound=True),
            page("/config", "Versions of the config, and what differs.", self.config),
            form("/config/reload", "Have the config file read again.", self.reload),
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
        """Return all counters, or those of the organisation of who is bound to one."""
        policy, found = self._from.policy(), readings(self._from.data)
        quotas, within = policy.quotas, self._from.organisation(asked.who(request))
        if within:
            found = of_organisation(found, within, limits.given(policy.keys))
            quotas = limits.seen(quotas, found, within)
        return HTMLResponse(limits.limits_page(frame.shell_of(request), quotas, found))

    # --- the ledger
    def requests(self, request: Request) -> Response:
        """Return the list. What the ledger cannot answer is said on the page, beside what was looked for."""
        asked = given(request)
        before = asked.get("before", "")
        wish = requests.Wish(
            q=asked.get("q", "").strip(),
            since=asked.get("since", ""),
            outcome=asked.get("outcome", ""),
            where={name: asked[name].strip() for name in requests.FILTERS if asked.get(name, "").strip()},
            before=int(before) if before.isdecimal() and len(before) < 19 else 0,
        )
        start_ms = since(wish.since) if wish.since else 0
        shell = frame.shell_of(request)
        try:
            with self._reader(request) as reader:
                if wish.q and " " not in wish.q and not wish.before:
                    ids = reader.find(wish.q)
                    if len(ids) == 1:
                        return RedirectResponse(f"/requests/{ids[0]}", 303)
                found = reader.search(wish.search(start_ms))
        except LedgerError as error:
            return HTMLResponse(requests.requests_page(shell, wish, None, trouble(error)), 503)
        return HTMLResponse(requests.requests_page(shell, wish, found))

    def story(self, request: Request) -> Response:
        made = self._from.explain(request)
        prices = {one.name: one.price for one in self._from.policy().deployments if one.price is not None}
        stores_bodies = bool(Bodies(self._from.data).files())
        return HTMLResponse(story.story_page(frame.shell_of(request), made, prices, stores_bodies=stores_bodies))

    def usage(self, request: Request) -> Response:
        """Return the sums, and the same over time."""
        wish, shell = _usage_wish(given(request)), frame.shell_of(request)
        try:
            with self._reader(request) as reader:
                return HTMLResponse(usage.usage_page(shell, wish, _used(reader, wish)))
        except LedgerError as error:
            return HTMLResponse(usage.usage_page(shell, wish, None, trouble(error)), 503)
        except ReportError as error:
            return HTMLResponse(usage.usage_page(shell, wish, None, f"{error}."), 400)

    def usage_csv(self, request: Request) -> Response:
        wish = _usage_wish(given(request))
        found = self._listed(request, wish)
        text = usage.csv_of(wish, found) if isinstance(found, list) else questions.csv_of(found)
        return _file(text.encode(), "csv", "text/csv")

    def usage_json(self, request: Request) -> Response:
        wish = _usage_wish(given(request))
        found = self._listed(request, wish)
        made = usage.plain(wish, found) if isinstance(found, list) else questions.plain(found)
        return _file(msgspec.json.encode(made), "json", "application/json")

    def _listed(self, request: Request, wish: Wish) -> list[Sum] | Report:
        """Return the groups for a file."""
        start_ms, until_ms = _span(wish)
        try:
            with self._reader(request) as reader:
                if wish.is_sum:
                    return reader.sums(wish.sums(start_ms, now_ms(), usage.MOST_CSV))[0]
                return reader.report(wish.question(start_ms, until_ms, usage.MOST_CSV))
        except ReportError as error:
            raise Refusal("invalid_request", str(error), error.what) from None

    def _reader(self, request: Request) -> Reader:
        return self._from.reader(request.scope["state"]["who"])

    # --- the config
    def config(self, request: Request) -> Response:
        asked = given(request)
        return HTMLResponse(self._config(request, asked.get("a", ""), asked.get("b", "")))

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


def _usage_wish(found: dict[str, str]) -> usage.Wish:
    tag = found.get("tag", "").strip()
    names = (f"{TAG}{tag}" if tag else found.get("by", "route"), found.get("then", ""))
    by = tuple(
        dict.fromkeys(name for name in names if name in (*usage.CHOICES, *explore.MORE) or TAGGED.fullmatch(name))
    )
    if {*TIMES} <= {*by}:
        by = ("hour",)
    dimensions = (*FIELDS, *explore.MORE)
    where = {name: value for name, value in found.items() if value and (name in dimensions or TAGGED.fullmatch(name))}
    show = found.get("show", "")
    show = show if show in explore.SHOWN else "cost"
    since_text = found.get("since") or ("7d" if show == "cost" else "24h")
    return usage.Wish(by or ("route",), since_text, where, found.get("until", ""), show)


def _span(wish: usage.Wish) -> tuple[int, int]:
    """Return when what is looked for begins and ends, in Unix milliseconds; END_MS: now."""
    return since(wish.since), since(wish.until) if wish.until else END_MS


def _used(reader: Reader, wish: usage.Wish) -> usage.Found | usage.Told:
    """Return the groups, and the same over time."""
    start_ms, until_ms = _span(wish)
    if wish.is_sum:
        rows, total = reader.sums(wish.sums(start_ms, now_ms()))
        line, _ = reader.sums(wish.line(start_ms, now_ms()))
        return rows, total, line
    drawn = wish.question_line(start_ms, until_ms, now_ms())
    return reader.report(wish.question(start_ms, until_ms)), reader.report(drawn)


def _file(data: bytes, form: str, media: str) -> Response:
    return Response(data, media_type=media, headers={"content-disposition": f'attachment; filename="usage.{form}"'})


def _by_https(request: Request) -> bool:
    """Tell whether the browser has the page by https, from whatever stands in front of us."""
    return request.headers.get("origin", "").startswith("https://")


def _local(path: str) -> str:
    """Return a path of ours to go to; anything else leads to the start."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if plain else "/"
