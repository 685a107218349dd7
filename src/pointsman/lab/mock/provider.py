"""One mock provider: who may ask, what is refused, what is answered, which faults hit it, and what is booked."""

from __future__ import annotations

import math
import time
from collections import deque
from itertools import chain

from pointsman.lab.faults import Facts, Rule, Script
from pointsman.lab.mock import embeddings
from pointsman.lab.mock.answer import Plan, plan_answer
from pointsman.lab.mock.anthropic_wire import AnthropicWire
from pointsman.lab.mock.ask import Ask, Received, Rejected, prompt_tokens
from pointsman.lab.mock.config import Capacity, ModelSpec, ProviderSpec
from pointsman.lab.mock.distort import body_steps, distort_body, distort_events, distort_head, distort_wire
from pointsman.lab.mock.gemini_wire import GeminiWire
from pointsman.lab.mock.http import Exchange
from pointsman.lab.mock.log import Entry
from pointsman.lab.mock.openai_wire import OpenAIWire
from pointsman.lab.mock.prefixes import PrefixCache
from pointsman.lab.mock.replace import replacement
from pointsman.lab.mock.steps import Head, Step, Steps, frame, pace
from pointsman.lab.mock.twist import twist
from pointsman.lab.mock.wires import JSON, Headers, Wire

WIRES: dict[str, Wire] = {"openai": OpenAIWire(), "anthropic": AnthropicWire(), "gemini": GeminiWire()}


class Provider:
    """Play one provider. `draw_key` names its random stream; `time_scale` multiplies every latency."""

    def __init__(self, spec: ProviderSpec, script: Script, seed: int, time_scale: float) -> None:
        self.spec = spec
        self.wire = WIRES[spec.dialect]
        self.script = script
        self.capacity: Capacity | None = spec.capacity
        self.active = 0
        self.number = 0
        self._draw_key = f"{seed}:{spec.name}"
        self._time_scale = time_scale
        self._keys = {secret: name for name, secret in spec.keys.items()}
        self._cache = PrefixCache(spec.cache) if spec.cache else None
        self._recent: deque[float] = deque()

    def answer(self, received: Received, what: str, now_s: float) -> Exchange:
        """Return the exchange for a request whose path names `what` (chat, count, models)."""
        if what == "models":
            return Exchange(_whole(200, JSON, self.wire.models(self.spec.models)))
        self.number += 1
        entry = Entry(
            number=self.number,
            time_s=time.time(),
            provider=self.spec.name,
            path=received.path,
            request_id=received.headers.get("x-request-id", ""),
            connection=received.connection,
        )
        exchange = Exchange(iter(()), entry, self._leave)
        self.active += 1
        try:
            entry.key = self._authenticate(received)
            if what == "embeddings":
                exchange.steps = self._embed(received, entry, now_s)
                return exchange
            ask = self.wire.parse(received)
            exchange.steps = self._serve(ask, received, what, exchange, now_s)
        except Rejected as error:
            exchange.steps = self._rejected(error, entry)
        return exchange

    def _leave(self) -> None:
        self.active -= 1

    def _serve(self, ask: Ask, received: Received, what: str, exchange: Exchange, now_s: float) -> Steps:
        entry = exchange.entry
        assert entry is not None
        entry.model, entry.stream, entry.prompt_tokens = ask.model, ask.stream, prompt_tokens(ask)
        spec = self._model(ask, entry.prompt_tokens)
        if what == "count":
            entry.status = 200
            return _whole(200, JSON, b'{"input_tokens":%d}' % entry.prompt_tokens)
        rules = self.script.pick(
            Facts(self.spec.name, ask.model, ask.stream, received.headers.get("x-mock-fault")), now_s
        )
        self._admit(now_s)
        cached = self._cache.look(ask) if self._cache else (0, 0)
        plan = plan_answer(ask, spec, self._draw_key, entry.number, cached)
        return self._play(ask, plan, rules, exchange)

    def _embed(self, received: Received, entry: Entry, now_s: float) -> Steps:
        """Return the steps of a reply with vectors; rules that replace a reply or break its wire work on it."""
        ask, coding = embeddings.parse(received)
        entry.model, entry.prompt_tokens = ask.model, prompt_tokens(ask)
        spec = self._model(ask, entry.prompt_tokens)
        facts = Facts(self.spec.name, ask.model, False, received.headers.get("x-mock-fault"))
        rules = self.script.pick(facts, now_s)
        self._admit(now_s)

        def mark(rule: Rule, cut: bool) -> None:
            entry.mark(rule.label)
            entry.outcome = "cut" if cut else entry.outcome

        key = f"{entry.number:024x}"
        other = replacement(rules, self.wire, key, entry.time_s, mark)
        wait_ms = plan_answer(ask, spec, self._draw_key, entry.number, (0, 0)).ttft_ms * self._time_scale
        body = embeddings.reply(ask, coding)
        head = Head(200, self.wire.headers(key, stream=False), len(body))
        if other is not None:
            head, body = other
        entry.status = head.status
        return distort_wire(frame(head, iter((Step(body, "body", 0, wait_ms),))), rules, mark)

    def _play(self, ask: Ask, plan: Plan, rules: tuple[Rule, ...], exchange: Exchange) -> Steps:
        entry = exchange.entry
        assert entry is not None

        def mark(rule: Rule, cut: bool) -> None:
            entry.mark(rule.label)
            if cut:
                entry.outcome = "cut"

        key = f"{entry.number:08x}{plan.key[:16]}"
        other = replacement(rules, self.wire, key, entry.time_s, mark)
        if other is not None:
            head, body = other
            entry.status = head.status
            return distort_wire(frame(head, iter((Step(body, "body"),))), rules, mark)
        plan = twist(plan, rules, mark)
        entry.completion_tokens = plan.output_tokens
        entry.cached_tokens = plan.usage.cached if plan.usage else 0
        entry.status = 200
        for rule in rules:
            if rule.do == "close_after":
                mark(rule, False)
                exchange.close_after_ms = rule.ms or 0.0
        headers = self.wire.headers(key, stream=ask.stream)
        if ask.stream:
            steps = distort_events(self._stream(ask, plan), rules, self.wire, mark)
            head = distort_head(Head(200, headers, None), rules, mark)
        else:
            body = distort_body(self.wire.reply(plan, ask), rules, self.wire, mark)
            steps = body_steps(self._whole_reply(plan, body), rules, self.wire, mark)
            head = distort_head(Head(200, headers, len(body)), rules, mark)
        return distort_wire(frame(head, steps), rules, mark)

    def _stream(self, ask: Ask, plan: Plan) -> Steps:
        scale = self._time_scale
        steps = self.wire.stream(plan, ask)
        return pace(steps, plan.ttft_ms * scale, plan.ms_per_token * scale, early=plan.early_headers)

    def _whole_reply(self, plan: Plan, body: bytes) -> Step:
        wait_ms = (plan.ttft_ms + plan.ms_per_token * plan.output_tokens) * self._time_scale
        return Step(body, "body", plan.output_tokens, wait_ms)

    def _authenticate(self, received: Received) -> str:
        """Return the name of the client's key. Raises Rejected as the real service does."""
        if not self._keys:
            return ""
        name = self._keys.get(self.wire.secret(received) or "")
        if name is None:
            status = self.spec.bad_key_status or self.wire.bad_key_status
            raise Rejected(status, "Incorrect API key provided.", "invalid_api_key")
        return name

    def _model(self, ask: Ask, prompt: int) -> ModelSpec:
        """Return what serves the request. Raises Rejected if nothing does, or it cannot."""
        spec = self.spec.models.get(ask.model)
        if spec is None:
            raise Rejected(404, f"The model `{ask.model[:100]}` does not exist.", "model_not_found")
        wanted = (("tools", ask.tools), ("json", ask.json), ("images", ask.images))
        for ability, asked in wanted:
            if asked and ability not in spec.supports:
                raise Rejected(400, f"{ability} are not supported by this model.", "unsupported_value")
        if prompt >= spec.context:
            raise Rejected(
                400,
                f"prompt is too long: {prompt} tokens > {spec.context} maximum. This model's maximum context length is "
                f"{spec.context} tokens; your messages resulted in {prompt} tokens.",
                "context_length_exceeded",
                "messages",
            )
        return spec

    def _admit(self, now_s: float) -> None:
        """Count the request against the capacity. Raises Rejected (429) beyond it."""
        limits = self.capacity
        if limits is None:
            return
        full = limits.concurrent is not None and self.active > limits.concurrent
        if limits.per_s is not None:
            while self._recent and self._recent[0] <= now_s - 1.0:
                self._recent.popleft()
            full = full or len(self._recent) >= limits.per_s
        if full:
            raise Rejected(429, "Rate limit reached.", "rate_limit_exceeded")
        if limits.per_s is not None:
            self._recent.append(now_s)

    def _rejected(self, error: Rejected, entry: Entry) -> Steps:
        entry.status = error.status
        key = f"{entry.number:024x}"
        headers = self.wire.headers(key, stream=False)
        if error.status == 429 and self.capacity is not None:
            error.retry_s = str(math.ceil(self.capacity.retry_after_s))
            headers = (*headers, ("retry-after", error.retry_s))
        return _whole(error.status, headers, self.wire.error(error, key))


def _whole(status: int, headers: Headers, body: bytes) -> Steps:
    return frame(Head(status, headers, len(body)), chain((Step(body, "body"),)))
