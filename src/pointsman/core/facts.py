"""Facts: what a rule's condition may look at. One row a fact: its name in CEL, its type and its meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

FactType = Literal["string", "bool", "int", "double", "list(string)", "map(string, string)", "map(string, double)"]
FactValue = str | bool | int | float | list[str] | dict[str, str] | dict[str, float]
Facts = Mapping[str, FactValue]  # only those that the route's rules name


class Fact(msgspec.Struct, frozen=True):
    """Hold one fact. `empty` is its value when the request does not say."""

    type: FactType
    empty: FactValue
    says: str


# To add a fact: a row here, and where its value comes from in core/case.py.
FACTS: dict[str, Fact] = {
    "request.kind": Fact("string", "chat", "Kind of call: chat."),
    "request.model": Fact("string", "", "The name the client wrote in `model`."),
    "request.stream": Fact("bool", False, "Whether the answer is asked for as a stream."),
    "request.max_output": Fact("int", 0, "Most output tokens the client asked for; 0: it did not say."),
    "request.temperature": Fact("double", -1.0, "Temperature the client asked for; -1.0: it did not say."),
    "request.user": Fact("string", "", "The body's `user`."),
    "request.session": Fact("string", "", "The session (see stickiness); empty: none."),
    "request.metadata": Fact("map(string, string)", {}, "The body's `metadata`; values that are no strings as JSON."),
    "request.tags": Fact("list(string)", [], "The body's `pointsman.tags`."),
    "request.priority": Fact("string", "normal", "Its class: critical, high, normal or low."),
    "request.headers": Fact("map(string, string)", {}, "Request headers of `server.rule_headers`, by lower-case name."),
    "features.input_tokens": Fact("int", 0, "Estimate of the input tokens."),
    "features.output_tokens": Fact("int", 0, "Output tokens predicted."),
    "features.images": Fact("bool", False, "Whether there are images in it."),
    "features.audio": Fact("bool", False, "Whether there is audio in it."),
    "features.files": Fact("bool", False, "Whether there are files in it."),
    "features.tools": Fact("bool", False, "Whether it offers tools."),
    "features.json_schema": Fact("bool", False, "Whether the answer must fit a JSON Schema."),
    "features.code": Fact("bool", False, "Whether the last messages look like code or are about code."),
    "features.language": Fact("string", "", "Language of the last user message, ISO 639-1; empty: not recognised."),
    "features.turns": Fact("int", 1, "Messages of the user in the conversation."),
    "features.category": Fact("string", "chat", "Task category: chat, code, tools or extraction."),
    "caller.key": Fact("string", "", "Name of the client's key."),
    "caller.project": Fact("string", "", "Its project."),
    "caller.team": Fact("string", "", "Its team."),
    "caller.organisation": Fact("string", "", "Its organisation."),
    "caller.tier": Fact("string", "", "Its tier."),
    "time.hour": Fact("int", 0, "Hour of the day, 0 to 23, in `server.time_zone`."),
    "time.minute": Fact("int", 0, "Minute of the hour."),
    "time.weekday": Fact("int", 1, "Day of the week, 1 Monday to 7 Sunday."),
    "time.date": Fact("string", "", "Date, YYYY-MM-DD."),
    "budget.day_usd": Fact("double", 0.0, "USD the asked route has cost today (UTC)."),
    "budget.day_used": Fact("double", 0.0, "Share of its `limits.usd_per_day` that is used; 0.0 without that limit."),
    "load.active": Fact("int", 0, "Requests this worker is answering now."),
    "health.breaker": Fact("map(string, string)", {}, "By deployment: closed, open, half_open or cooling."),
    "health.ttft_ms": Fact("map(string, double)", {}, "By deployment: time to first token expected now."),
    "health.ttft_ms_p95": Fact("map(string, double)", {}, "By deployment: its 95th percentile over the last minute."),
}
PLUGGED: set[str] = set()  # of these, what other packages brought (core/case.py:plug_in)
BY_DEPLOYMENT = frozenset({"health.breaker", "health.ttft_ms", "health.ttft_ms_p95"})  # keyed by every deployment


class RuleError(Exception):
    """Say which condition could not be evaluated on these facts, and why. `index` counts the rules of `route` from 0;
    `path` are the steps that led there."""

    def __init__(self, index: int, message: str, route: str = "", path: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.index, self.route, self.path = index, route, path


class Ruleset(msgspec.Struct, frozen=True):
    """Hold the compiled conditions of a route: `names` are the facts they look at; `match` returns the index of the first
    that holds, -1 for none, and raises RuleError. Pure: the same facts give the same index."""

    names: frozenset[str]
    match: Callable[[Facts], int]


RulesOf = Callable[[tuple[str, ...]], Ruleset]  # the conditions in order, "" for one that holds always
