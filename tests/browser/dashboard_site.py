"""The admin listener in a thread of the test, over files that workers and pump would have written."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from admin_asking import TOKEN, admin_key
from many_rows import PLACES, ROUTES, fill, policy_of_rows

from pointsman.control import keystore
from pointsman.control.admin import Admin
from pointsman.control.billing.biller import Biller
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.core.billing import Billing, Customer, Markup
from pointsman.core.invoice import Wish
from pointsman.core.notice import Noted, Notice, Told
from pointsman.core.policy import Arm, Bounds, Cache, Policy, Provider, Rule, Rung, Semantic, Split
from pointsman.core.quotas import Quota
from pointsman.core.reading import Reading, Readings
from pointsman.core.standing import Standing, Standings
from pointsman.observe.metrics import Metrics
from pointsman.stores.bodies import Bodies, Body
from pointsman.stores.callers import Settings
from pointsman.stores.choose import Stores
from pointsman.stores.notices import keep
from pointsman.stores.trusts import Trusts
from pointsman.stores.versions import Entry, Versions

ROWS = 1_000_000
BEAT_S = 1.0
TEXTS = ("routes:\n  support: {candidates: [haiku, luna]}\n  drafts: {candidates: [luna]}\n",
         "routes:\n  support: {candidates: [haiku, luna, sonnet]}\n  drafts: {candidates: [luna]}\n")  # fmt: skip
QUOTAS = (
    Quota(name="support a day", scope="team", who="care", measure="usd", amount=50_000_000_000, period="d"),
    Quota(name="each key", scope="key", measure="tokens", amount=2_000_000, period="h"),
    Quota(name="everybody", measure="requests", amount=6_000, period="m"),
)
SEARCH_CACHE = Cache(ttl_s=3_600.0, semantic=Semantic())
SPEAK = (("anthropic", "anthropic"), ("openai", "openai"), ("gemini", "gemini"), ("lab", "openai"))
BILLING = Billing(
    customers=(Customer(name="organisations", each="organisation", tax_basis_points=1_900),),
    markups=(Markup(name="standard", ppm=100_000),),
)
STATES = {"sonnet": "closed", "haiku": "closed", "luna": "cooling", "flash": "closed", "qwen-lab": "open"}


class DashboardSite:
    """Serve the dashboard on a free port, as a context. `rows` 0: there is nothing yet."""

    def __init__(self, data: Path, rows: int = ROWS) -> None:
        self.data, self._rows = data, rows
        self.token, self.viewer, self.bound, self.took_s = TOKEN, "", "", 0.0
        self.port = 0
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []
        self._count = 0

    def __enter__(self) -> DashboardSite:
        (self.data / "run").mkdir(parents=True)
        made: Policy = msgspec.structs.replace(policy_of_rows(), version="7c41d09e", source="router.yaml")
        if self._rows:
            made = richer(made)
            self.took_s = fill(self.data, self._rows, int(time.time() * 1000))
            self._fill_rest()
            self._tell()
            self._issue()
            self._beat()
            self._thread(self._live)
        self.admin = Admin(self.data, made, Counts(), self._reload)
        config = uvicorn.Config(
            self.admin.app(TOKEN, hosts_of("127.0.0.1")), port=0, log_level="error", lifespan="off", ws="none"
        )
        self._server = uvicorn.Server(config)
        self._thread(self._server.run)
        while not self._server.started:
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._server.should_exit = True
        for thread in self._threads:
            thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _thread(self, run: object) -> None:
        thread = threading.Thread(target=run, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _reload(self, token: str) -> None:
        told = {"answers": [token], "restart": [], "ok": True, "version": "7c41d09e"}
        (self.data / "run" / "reload.json").write_text(json.dumps(told))

    def _issue(self) -> None:
        """Issue an invoice of the month before, and credit some of it."""
        now = datetime.now(UTC)
        month = now.year * 12 + now.month - 2
        biller = Biller(Stores(self.data), BILLING)
        period = f"{month // 12}-{month % 12 + 1:02d}"
        kept, _ = biller.issue("globex", period, "ada", int(time.time() * 1000), allow_unpriced=True)
        biller.credit(kept.number, Wish(amount_nano=10_000_000, reason="an outage"), "ada", int(time.time() * 1000))

    def _tell(self) -> None:
        """Write what was told to whom, and store two requests with their answers."""
        now_ms = int(time.time() * 1000)
        rows = []
        for n in range(61):
            kind = "price" if n == 30 else "quota" if n % 2 else "deployment"
            at_ms = now_ms - (61 - n) * 600_000
            text = f"{kind} number {n} " + "needs a look, and says so in a sentence of some length. " * (1 + n % 3)
            told = {"chat": Told("held_back" if kind == "price" else "delivered", at_ms, 1),
                    "pager": Told("failed", at_ms, 4, "answers with status 500")}  # fmt: skip
            rows.append(Noted(f"ntc_{n:024x}", at_ms, Notice(kind, f"thing-{n}", "near", text), at_ms, n % 5, told))
        with contextlib.closing(Stores(self.data).writer()) as writer, writer.changing() as db:
            keep(db, rows, "")
        asked = '{"model": "support", "messages": [{"role": "user", "content": "how do I return it?"}]}'
        caller = ("acme/care-1", "bot", "care", "acme")
        Bodies(self.data).add(
            Body(id, now_ms, now_ms + 3_600_000, caller, "support", "ok", asked, "word " * 900, "answer: cut")
            for id in ("req_stored", "req_gone")
        )

    def _fill_rest(self) -> None:
        """Write what is no ledger: keys, versions, quotas."""
        stores = Stores(self.data)
        with keystore.acting(stores, "test") as acting:
            acme = acting.add_group("organisation", "acme")
            team = acting.add_group("team", "care", acme.id)
            project = acting.add_group("project", "bot", team.id)
            for n in range(6):
                acting.add_key(
                    f"care-{n}", project.id if n < 4 else "", Settings(routes=("support",) if n % 2 else None)
                )
            acting.revoke_key(acting.keys()[0][0].id)
        self.viewer = admin_key(self.data, "reader", "viewer")[1]
        self.bound = admin_key(self.data, "acme-admin", "admin", acme.id)[1]
        versions, now_ms = Versions(self.data), int(time.time() * 1000)
        for n, (name, text) in enumerate(zip(("5b1f22aa", "7c41d09e"), TEXTS, strict=True)):
            entry = Entry(version=name, at_ms=now_ms - (2 - n) * 7_200_000, author="ada", trigger=("start", "file")[n],
                          source="router.yaml", sha256="", redacted=False)  # fmt: skip
            versions.append(entry)
            versions.keep_text(name, text)
        until_ms = now_ms + 3_600_000
        rows = [
            Reading("team=acme/care usd/d", "support a day", "acme/care", "usd", "d", "refuse", 50_000_000_000,
                    46_210_000_000, 120_000_000, 3_670_000_000, now_ms, until_ms),
            Reading("key=acme/care-1 tokens/h", "each key", "acme/care-1", "tokens", "h", "refuse", 2_000_000, 412_000, 9_000,
                    1_579_000, now_ms, until_ms),
            Reading("key=acme/growth-2 tokens/h", "each key", "acme/growth-2", "tokens", "h", "refuse",
                    2_000_000, 2_000_000, 0, 0, now_ms, until_ms),
            Reading("all requests/m", "everybody", "", "requests", "m", "notify", 6_000, 840, 12, 5_148, now_ms, until_ms),
        ]  # fmt: skip
        similar = SEARCH_CACHE.semantic
        trusts = Trusts(self.data / "similar")
        for n in range(60):
            trusts.judge("search", similar, now_ms, wrong=n == 17)
        (self.data / "run" / "limits-0.msgpack").write_bytes(msgspec.msgpack.encode(Readings(rows)))

    def _live(self) -> None:
        while not self._done.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        """Write what two workers would write, each second some requests more."""
        self._count += 1
        n, now_ms = self._count, int(time.time() * 1000)
        shares = {
            ("support", "haiku"): 8,
            ("support", "luna"): 3,
            ("drafts", "luna"): 6,
            ("search", "flash"): 4,
            ("code", "sonnet"): 2,
        }
        done = {f"{route}\x1f{name}\x1fok": n * rate for (route, name), rate in shares.items()}
        done["code\x1fqwen-lab\x1fserver_error"] = n
        for number in (0, 1):
            load = {"pressure": 0.31 + 0.2 * number, "active": 14.0, "room": 45.0, "lag_ms": 0.4, "memory": 0.2}
            put(
                self.data,
                f"standing-{number}",
                Standings(now_ms, number, "7c41d09e", [_standing(name) for name in PLACES], load),
            )
        put(self.data, "metrics-0", Metrics(requests=done, active=28, alerts={"qwen-lab\x1fejected": 1 + n // 5}))


def richer(made: Policy) -> Policy:
    """Return the policy with all that pages tell of a route: demands, arms, rules, a ladder, a cache; and who is billed."""
    routes = dict(made.routes)
    more: dict[str, dict[str, Any]] = {
        "support": {
            "bounds": Bounds(ttft_ms_p95=1_000.0, nano_per_request=9_000_000, nano_per_day=400_000_000_000,
                             relax=("ttft_ms_p95",)),
            "rules": (Rule(when='request.tokens > 20000', use="batch", place="router.yaml:12"),),
        },
        "drafts": {"split": Split(by="session", salt="s1", arms=(Arm(name="as-is", weight=9.0, use="drafts arm as-is"),
                                                                 Arm(name="shorter", weight=1.0, use="batch")))},
        "code": {"degrade": (Rung(name="smaller", candidates=("flash",)), Rung(name="later", refuse=True)),
                 "bounds": Bounds(ttft_ms_p95=600.0, quality_min=0.5)},
        "search": {"cache": SEARCH_CACHE},
    }  # fmt: skip
    for name, fields in more.items():
        routes[name] = msgspec.structs.replace(routes[name], **fields)
    providers = {
        name: Provider(name=name, dialect=dialect, base_url=f"https://{name}.example") for name, dialect in SPEAK
    }
    listener = msgspec.structs.replace(made.listener, billing=BILLING)
    return msgspec.structs.replace(made, quotas=QUOTAS, routes=routes, providers=providers, listener=listener)


def put(data: Path, name: str, value: object) -> None:
    path = data / "run" / f"{name}.msgpack"
    fresh = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        fresh.write_bytes(msgspec.msgpack.encode(value))
        fresh.replace(path)


def _standing(name: str) -> Standing:
    state = STATES[name]
    return Standing(
        deployment=name, provider=PLACES[name][0], breaker=state, again_ms=4_000 if state != "closed" else 0,
        failures=5 if state == "open" else 0, ejections=0, last_failure="server_error" if state == "open" else "",
        success=0.993, ttft_ms=412.0, ttft_p95_ms=811.0, tokens_per_s=88.0, sampled=120, measured_s_ago=0.4,
        allowed={"requests": (600, 31 if name == "luna" else 540, 9_000)} if name in ("luna", "haiku") else {},
    )  # fmt: skip


assert set(STATES) == set(PLACES) and ROUTES
