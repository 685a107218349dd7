"""The plan of one reply: text, tool calls, reasoning, usage and latency, fixed by (seed, provider, request number)."""

from __future__ import annotations

import random

import msgspec

from pointsman.lab.mock.ask import CODE_WORDS, REFUSE_PHRASE, Ask, ToolSpec, count_tokens, prompt_tokens, trim
from pointsman.lab.mock.config import ModelSpec
from pointsman.lab.mock.fill import fill
from pointsman.lab.mock.phrases import prose

EPOCH_S = 1_790_000_000  # `created` of request 0; not the clock, so that equal seeds give equal bytes
_REFUSAL = "I can't help with that request."


class Call(msgspec.Struct, frozen=True):
    id: str
    name: str
    arguments: str


class ChoicePlan(msgspec.Struct, frozen=True):
    """Hold one choice. `finish` is stop, stop_sequence, length, tool_calls, content_filter or refusal."""

    text: str = ""
    finish: str = "stop"
    calls: tuple[Call, ...] = ()
    reasoning: str = ""
    reasoning_tokens: int = 0
    refusal: str = ""
    stopped_by: str | None = None

    @property
    def tokens(self) -> int:
        said = count_tokens(self.text) + count_tokens(self.refusal)
        return self.reasoning_tokens + said + sum(count_tokens(c.name) + count_tokens(c.arguments) for c in self.calls)


class Tally(msgspec.Struct, frozen=True):
    """Hold the usage that the wire reports, in tokens; `prompt` includes `cached` and `written`."""

    prompt: int
    output: int
    cached: int = 0
    written: int = 0
    reasoning: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one reply; `usage` None is not reported. `ms_per_token` 0 is at once."""

    key: str  # 24 hexadecimal digits, unique per reply; the wires make their ids of it
    model: str
    created_s: int
    choices: tuple[ChoicePlan, ...]
    usage: Tally | None
    ttft_ms: float = 0.0
    ms_per_token: float = 0.0
    tokens_per_event: int = 1
    reasoning_field: str = "reasoning_content"
    early_headers: bool = False

    @property
    def output_tokens(self) -> int:
        return sum(choice.tokens for choice in self.choices)


def plan_answer(ask: Ask, spec: ModelSpec, draw_key: str, number: int, cached: tuple[int, int] = (0, 0)) -> Plan:
    """Return the plan of request `number`. `draw_key` seeds it; `cached` is (read, written) prompt tokens."""
    rng = random.Random(f"{draw_key}:{number}")
    ttft_ms = spec.ttft_ms.draw(rng)
    prompt = prompt_tokens(ask)
    choices = tuple(_choice(ask, spec, rng, prompt) for _ in range(ask.n))
    return Plan(
        key=f"{rng.getrandbits(96):024x}",
        model=ask.model,
        created_s=EPOCH_S + number,
        choices=choices,
        usage=Tally(
            prompt=prompt,
            output=sum(choice.tokens for choice in choices),
            cached=cached[0],
            written=cached[1],
            reasoning=sum(choice.reasoning_tokens for choice in choices),
        ),
        ttft_ms=ttft_ms,
        ms_per_token=1000.0 / spec.tokens_per_s if spec.tokens_per_s else 0.0,
        tokens_per_event=spec.tokens_per_event,
        reasoning_field=spec.reasoning.field if spec.reasoning else "reasoning_content",
        early_headers=spec.early_headers,
    )


def _choice(ask: Ask, spec: ModelSpec, rng: random.Random, prompt: int) -> ChoicePlan:
    wanted = max(1, round(spec.output_tokens.draw(rng)))
    if REFUSE_PHRASE in ask.last.lower() or (spec.refuse and rng.random() < spec.refuse):
        return ChoicePlan(refusal=_REFUSAL, finish="refusal")
    budget = min(ask.max_tokens or spec.max_output, spec.max_output, max(spec.context - prompt, 1))
    reasoning, thought = _reasoning(ask, spec, rng)
    if thought >= budget:
        return ChoicePlan(reasoning=trim(reasoning, budget), reasoning_tokens=budget, finish="length")
    budget -= thought
    tools = _tools_to_call(ask)
    if tools:
        calls, finish = _calls(tools, rng, budget)
        return ChoicePlan(calls=calls, finish=finish, reasoning=reasoning, reasoning_tokens=thought)
    if ask.json:
        text = msgspec.json.encode(fill(ask.schema, rng)).decode()
    else:
        code = any(word in ask.last.lower() for word in CODE_WORDS)
        text = trim(prose(rng, wanted * 4, ask.last, code=code), wanted)
    text, finish, stopped_by = _cut(text, ask.stop, budget)
    return ChoicePlan(text=text, finish=finish, stopped_by=stopped_by, reasoning=reasoning, reasoning_tokens=thought)


def _cut(text: str, stop: tuple[str, ...], budget: int) -> tuple[str, str, str | None]:
    found = min((at, word) for word in (*stop, "") if (at := text.find(word) if word else len(text)) >= 0)
    if found[1] and count_tokens(text[: found[0]]) <= budget:
        return text[: found[0]], "stop_sequence", found[1]
    if count_tokens(text) > budget:
        return trim(text, budget), "length", None
    return text, "stop", None


def _reasoning(ask: Ask, spec: ModelSpec, rng: random.Random) -> tuple[str, int]:
    """Return (text to show, tokens thought); hidden reasoning costs tokens and shows nothing."""
    if spec.reasoning is None or not (ask.think or spec.reasoning.always):
        return "", 0
    tokens = max(1, round(spec.reasoning.tokens.draw(rng)))
    if not (spec.reasoning.visible and ask.show_thinking):
        return "", tokens
    text = trim(prose(rng, tokens * 4, ask.last), tokens)
    return text, count_tokens(text)


def _tools_to_call(ask: Ask) -> tuple[ToolSpec, ...]:
    """Return the tools to call: the forced one, those the user's newest text names, or the first if it says 'tool'."""
    if not ask.tools or ask.tool_mode == "none":
        return ()
    if ask.tool_mode == "named":
        return tuple(tool for tool in ask.tools if tool.name == ask.tool_name)[:1]
    named = tuple(tool for tool in ask.tools if tool.name in ask.last)
    if ask.tool_mode == "required":
        named = named or ask.tools[:1]
    elif ask.after_tool:
        return ()
    elif not named and "tool" in ask.last.lower():
        named = ask.tools[:1]
    return named if ask.parallel else named[:1]


def _calls(tools: tuple[ToolSpec, ...], rng: random.Random, budget: int) -> tuple[tuple[Call, ...], str]:
    calls: list[Call] = []
    for tool in tools:
        arguments = msgspec.json.encode(fill(tool.schema or {"type": "object"}, rng)).decode()
        left = budget - count_tokens(tool.name)
        if left <= 0:
            return tuple(calls), "length"
        short = trim(arguments, left)
        calls.append(Call(f"{rng.getrandbits(96):024x}", tool.name, short))
        if short != arguments:
            return tuple(calls), "length"
        budget = left - count_tokens(arguments)
    return tuple(calls), "tool_calls"
