"""Cache: whole answers given again to requests that are alike, inside a tenant, where the route says so.

What is kept, for whom and for how long: docs/caching.md. Who waits for whom: `flights.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from pointsman.core.cachekey import CacheKey, Caching, ambiguous, key_of
from pointsman.core.entry import AttemptRow
from pointsman.dialects.forms import Form, remade
from pointsman.dialects.relay_reply import read_reply
from pointsman.dialects.relay_request import Head, RouterOptions
from pointsman.gateway.answers import Refused
from pointsman.gateway.checks import Check
from pointsman.gateway.embedding import Embedder, Embedding
from pointsman.gateway.flights import NOT_CACHED, Flight, Flights
from pointsman.gateway.kept import MOST_ANSWER_BYTES
from pointsman.gateway.replay import give
from pointsman.gateway.semantic import Asked, Semantics
from pointsman.gateway.world import CALLER_DIALECT
from pointsman.observe.metrics import Metrics
from pointsman.stores.cache_files import Files
from pointsman.stores.cache_memory import Answer, Memory
from pointsman.stores.claims import Claims

if TYPE_CHECKING:
    from pointsman.core.options import Options
    from pointsman.gateway.clock import Clock
    from pointsman.gateway.edge import Incoming
    from pointsman.gateway.exchange import Exchange
    from pointsman.gateway.sending import Sending
    from pointsman.stores.cache_redis import RedisAnswers

HEADER = "cache-control"


class Wish(NamedTuple):
    """Hold what a client wants of the cache: `off`, `only-if-cached`, `refresh` or "" for nothing special; how long its
    answer is kept, and how old one may be, at most."""

    mode: str = ""
    keep_s: float = float("inf")
    age_s: float = float("inf")


NO_WISH = Wish()


class Part:
    """Hold the part that one request has in the cache: what it was found to be, and who waits for its answer."""

    result = "miss"
    answer: Answer | None = None  # the one that is given
    flight: Flight | None = None  # whose answer it is under way to get
    position = -1  # of its first candidate
    joined_ms = 0.0
    asked: Asked | None = None  # its question, where similar ones are compared
    similarity = 0.0  # of the question whose answer is given, and what that is kept under
    entry = ""
    embedding: Embedding | None = None  # under way, of its question
    aside: tuple[AttemptRow, ...] = ()  # what that used
    given: Answer | None = None  # what was given to the question that it asks fresh

    def __init__(self, caching: Caching, key: CacheKey, form: Form, wish: Wish) -> None:
        self.caching, self.key, self.form, self.wish = caching, key, form, wish
        self.name = key.key if key.shared else f"{key.key}-{form}"  # that its answer is kept under

    @property
    def records(self) -> bool:
        """Tell whether the answer is to be kept."""
        return self.result in ("miss", "refresh", "check")

    def all_rows(self, rows: Sequence[AttemptRow]) -> tuple[AttemptRow, ...]:
        """Return the rows of a request with those that are no attempts to answer it, in front."""
        return (*self.aside, *rows)

    @property
    def paced(self) -> bool:
        return self.caching.settings.pace == "recorded"


class Cache:
    """Look up, keep and share answers. One of each worker; files are shared by those of a machine, a Redis by many."""

    def __init__(self, data: Path, clock: Clock, metrics: Metrics, url: str = "file:") -> None:
        self._clock, self._metrics = clock, metrics
        self.memory = Memory()
        self.files = Files(data / "answers")
        self.shared = None if url == "file:" else _shared(url)  # in place of the files, between many machines
        claims = Claims(data / "run" / "flights")
        self._flights = Flights(claims, clock, self._find, _in_form, (self.shared, self._take_in))
        self._flights.first = self._embeds
        self._embedder = Embedder()
        self.semantics = Semantics(data, clock, metrics, self._named, Random())

    # --- before a request is admitted
    def look(self, options: Options, head: Head, incoming: Incoming) -> Part | Refused | None:
        """Return the part that a request has in the cache, None when it has none, or why it is refused."""
        wish = wish_of(head.router, incoming.headers.get(HEADER))
        caching, caller = options.cache, incoming.caller
        key = None
        if caching is not None and wish.mode != "off":
            who = caller.who  # type: ignore[attr-defined]  # chat has seen to it
            key = key_of(caching, who, incoming.body, incoming.headers.get("openai-beta"))
        if caching is None or key is None:
            return NOT_CACHED if wish.mode == "only-if-cached" else None
        form: Form = "whole" if head.stream is not True else "stream_usage" if head.include_usage else "stream"
        part = Part(caching, key, form, wish)
        if isinstance(incoming, Check):
            part.result, part.given = "check", incoming.given if incoming.mark == caching.mark else None
            return part
        if wish.mode == "refresh":
            part.result = "refresh"
            return part
        part.answer = self._find(part)
        if part.answer is not None:
            part.result = "hit"
        elif caching.settings.semantic is not None and self._similar(part, incoming):
            return part
        elif wish.mode == "only-if-cached" and self.shared is None:
            return NOT_CACHED
        return part

    def _find(self, part: Part) -> Answer | None:
        """Return the answer that may be given, in the form that is wanted."""
        now_ms = self._clock.wall_ns() // 1_000_000
        kept = self._kept(part, part.name, now_ms)
        if kept is None or not _fresh(kept, part, now_ms):
            return None
        answer = _in_form(kept, part.form)
        if answer is not None:
            return answer
        part.name = f"{part.key.key}-{part.form}"  # it cannot be made of the other form, so it is kept beside it
        kept = self._kept(part, part.name, now_ms)
        return kept if kept is not None and _fresh(kept, part, now_ms) else None

    def _similar(self, part: Part, incoming: Incoming) -> bool:
        """Tell whether there is an answer to a question that is similar."""
        part.asked = self.semantics.ask(part, incoming)
        part.answer = self.semantics.look(part)
        return part.answer is not None

    def _named(self, part: Part, name: str) -> Answer | None:
        """Return the answer that is kept on this machine under a name, if it may be given."""
        now_ms, share = self._clock.wall_ms(), part.key.share
        kept = self.memory.get(share, name, now_ms) or self.files.get(share, name, now_ms)
        return _in_form(kept, part.form) if kept is not None and _fresh(kept, part, now_ms) else None

    def _kept(self, part: Part, name: str, now_ms: int) -> Answer | None:
        share = part.key.share
        answer = self.memory.get(share, name, now_ms)
        if answer is None and self.shared is None:
            answer = self.files.get(share, name, now_ms)
            if answer is not None:
                self.memory.put(share, name, answer, part.caching.settings.max_bytes)
        return answer

    def _take_in(self, part: Part, answer: Answer) -> None:
        """Keep here what another machine has kept, for `_find`."""
        self.memory.put(part.key.share, part.name, answer, part.caching.settings.max_bytes)

    # --- when it is admitted
    def serves(self, part: Part, exchange: Exchange, position: int) -> bool:
        """Answer an admitted request, or have it wait for the answer of one that is alike; False: it goes to a provider."""
        exchange.cache, part.position = part, position
        if part.answer is not None:
            give(exchange, part, part.answer, self._clock.wall_ms())
            return True
        if part.result != "miss" or (position < 0 and self.shared is None):
            return False
        return self._flights.takes(part, exchange) or self._embeds(part, exchange)

    def _embeds(self, part: Part, exchange: Exchange) -> bool:
        """Tell whether a request waits for the vector of its question."""
        asked, semantic = part.asked, part.caching.settings.semantic
        if asked is None or asked.vector is not None or semantic is None or part.aside:
            return False
        return self._embedder.begin(exchange, part, semantic.embeddings, self._embedded)

    def _embedded(self, exchange: Exchange, part: Part, vector: array[float] | None) -> None:
        """Go on when the vector has come, or has not."""
        if exchange.settled or part.asked is None:
            return
        part.asked.vector = vector
        answer = self.semantics.look(part)
        if answer is None:
            self._flights.set_off(exchange, part)
            return
        part.answer = answer
        landed = self._flights.landed(part, answer)
        give(exchange, part, answer, self._clock.wall_ms())
        if landed is not None:
            landed()

    # --- when it has an answer, or none
    def answered(
        self, exchange: Exchange, attempt: Sending, body: bytes, pace: tuple[tuple[int, int], ...] = ()
    ) -> None:
        """Keep the whole answer of an attempt if it is one to keep, and give it to those who wait for it."""
        part = exchange.cache
        if part is None or not part.records or not _worth(exchange, attempt, body):
            return
        row, now_ms = exchange.rows[-1], self._clock.wall_ms()
        ttl_s = min(part.caching.settings.ttl_s, part.wish.keep_s)
        answer = Answer(
            exchange.request.id,
            now_ms,
            now_ms + int(ttl_s * 1000),
            part.form,
            body,
            row.usage,
            row.charge_nano,
            row.deployment,
            row.provider,
            row.model,
            row.served_model,
            pace,
        )
        most = part.caching.settings.max_bytes
        self.memory.put(part.key.share, part.name, answer, most)
        landed = self._flights.landed(part, answer)
        if part.caching.settings.semantic is not None:
            self._keep_question(part, exchange.incoming, answer)
        if self.shared is None:
            self.files.put(part.key.share, part.name, answer, most, landed)
            return
        self.shared.put(part.key.share, part.name, answer, most, now_ms)
        if landed is not None:
            landed()

    def _keep_question(self, part: Part, incoming: Incoming, answer: Answer) -> None:
        self.semantics.keep(part, incoming, answer)
        if part.given is not None:
            self.semantics.checked(part, part.given, answer)
        if self.shared is not None:  # which is not asked for similar ones
            self.files.put(part.key.share, part.name, answer, part.caching.settings.max_bytes)

    def ended(self, exchange: Exchange) -> None:
        """Note the end of an exchange: one that others wait for may have ended without an answer to give them."""
        part = exchange.cache
        if part is not None and part.embedding is not None:
            part.embedding.stop()
        if part is not None and part.flight is not None:
            self._flights.failed(part)

    def count(self) -> None:
        """Note in the metrics what is kept, and what could not be: a file is written after its request has ended."""
        metrics, memory = self._metrics, self.memory
        metrics.cache_bytes, metrics.cache_entries = memory.bytes, memory.entries
        metrics.cache_errors = self.files.failed if self.shared is None else self.shared.failed
        metrics.cache_errors += self.semantics.similar.failed + self.semantics.trusts.failed


def _shared(url: str) -> RedisAnswers:
    from pointsman.stores.cache_redis import RedisAnswers

    shared = RedisAnswers(url)
    shared.open()
    return shared


def wish_of(router: RouterOptions, header: bytes | None) -> Wish:
    """Return what a request wants: of the router's own member, else of the header."""
    wish = NO_WISH if header is None else _directives(header)
    if router.cache is None and router.cache_ttl_s is None:
        return wish
    ttl_s = wish.age_s if router.cache_ttl_s is None else float(router.cache_ttl_s)
    return Wish(router.cache or wish.mode, ttl_s, ttl_s)


@lru_cache(maxsize=256)
def _directives(header: bytes) -> Wish:
    """Return what a Cache-Control header wants (RFC 9111 section 5.2.1); a directive that is not known says nothing."""
    mode, age_s = "", float("inf")
    for directive in header.decode("latin-1").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name == "no-store":
            mode = "off"
        elif name == "only-if-cached" and mode != "off":
            mode = name
        elif name == "no-cache" and not mode:
            mode = "refresh"
        elif name == "max-age" and value.strip('"').isascii() and value.strip('"').isdigit():
            age_s = float(value.strip('"')[:12])
    return Wish(mode or ("refresh" if age_s <= 0.0 else ""), float("inf"), age_s)


def _fresh(answer: Answer, part: Part, now_ms: int) -> bool:
    age_s = (now_ms - answer.at_ms) / 1000.0
    return age_s <= min(part.wish.age_s, part.caching.settings.ttl_s)


def _in_form(answer: Answer, wanted: Form) -> Answer | None:
    if answer.form == wanted:
        return answer
    body = remade(CALLER_DIALECT, answer.body, answer.form, wanted, answer.usage)
    return None if body is None else replace(answer, form=wanted, body=body, pace=())


def _worth(exchange: Exchange, attempt: Sending, body: bytes) -> bool:
    """Tell whether an answer may be given again: whole, of the route's own candidates, saying something, and to a request
    that can be read in one way only."""
    step, pipe = attempt.step, attempt.pipe
    option = exchange.options.options[step.position]
    if step.tier or option.aside or not 0 < len(body) <= MOST_ANSWER_BYTES:
        return False
    says = pipe.content if pipe is not None else read_reply(body).failure is None
    return says and not ambiguous(exchange.incoming.body)
