"""The faults that must end in another deployment's answer, as a table; each is a model name of its own in the lab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DIALECTS = ("openai", "anthropic", "gemini")
BOTH = (False, True)
STREAM = (True,)
UNARY = (False,)
TTFT_MS = 250  # of the deployments that are slow on purpose


@dataclass(frozen=True)
class Fault:
    """Hold one row: number in FAULTS.md, name, the mock's rule, the outcomes it may be booked as, where it makes sense."""

    number: int
    name: str
    rule: dict[str, Any]
    outcomes: tuple[str, ...]
    streams: tuple[bool, ...] = BOTH
    dialects: tuple[str, ...] = DIALECTS

    def model(self, stream: bool) -> str:
        """Return the model name that plays it; one per mode, so that an ejection in one does not hide the other."""
        return f"f{self.number:02d}-{self.name}-{'stream' if stream else 'unary'}"


_ERROR_BODY = '{"error":{"message":"The engine failed.","type":"server_error","code":null}}'
_OPENAI = ("openai",)
_CUT = ("truncated", "unreachable", "broken", "empty", "stale")

FAULTS = (
    *(
        Fault(18, f"status_{status}", {"do": "status", "status": status}, ("server_error", "overloaded", "timeout"))
        for status in (500, 502, 503, 504, 522, 524, 529)
    ),
    Fault(17, "insufficient_quota", {"do": "status", "status": 429, "code": "insufficient_quota"}, ("quota_exhausted",),
          dialects=_OPENAI),
    Fault(19, "our_key_refused_401", {"do": "status", "status": 401}, ("auth",)),
    Fault(19, "our_key_refused_403", {"do": "status", "status": 403}, ("auth",)),
    Fault(20, "model_unknown_404", {"do": "status", "status": 404, "code": "model_not_found"}, ("not_found",)),
    Fault(24, "error_body_under_200", {"do": "body", "text": _ERROR_BODY}, ("server_error",)),
    Fault(25, "web_page_under_200", {"do": "html"}, ("broken",)),
    Fault(26, "empty_body_under_200", {"do": "empty"}, ("empty", "broken", "truncated")),
    Fault(26, "no_choices", {"do": "body", "text": '{"id":"x","object":"chat.completion","model":"m","choices":[]}'},
          ("empty", "broken"), dialects=_OPENAI),
    Fault(29, "garbage_body", {"do": "garbage", "at": "event:0"}, ("broken",)),
    Fault(29, "json_of_another_kind", {"do": "body", "text": '["not", "a", "completion"]'}, ("broken", "empty")),
    Fault(33, "truncated_body", {"do": "truncate"}, _CUT, UNARY),
    Fault(33, "wrong_content_length", {"do": "wrong_content_length"}, _CUT, UNARY),
    Fault(33, "reset_in_the_body", {"do": "reset", "at": "content:1"}, _CUT, UNARY),
    Fault(33, "eof_in_the_body", {"do": "eof", "at": "content:1"}, _CUT, UNARY),
    Fault(34, "silence_before_headers", {"do": "stall", "at": "headers"}, ("timeout",)),
    Fault(35, "drip", {"do": "drip", "at": "headers", "ms": 200}, ("timeout",)),
    Fault(40, "redirect", {"do": "status", "status": 307, "text": "<a>moved</a>",
          "headers": {"location": "http://127.0.0.1:9/"}}, ("broken",)),
    Fault(3, "reset_before_headers", {"do": "reset", "at": "headers"}, ("unreachable",)),
    Fault(3, "eof_before_headers", {"do": "eof", "at": "headers"}, ("unreachable",)),
    Fault(41, "eof_without_an_event", {"do": "eof", "at": "event:0"}, _CUT, STREAM),
    Fault(41, "reset_after_headers", {"do": "reset", "at": "event:0"}, _CUT, STREAM),
    Fault(41, "eof_after_the_role", {"do": "eof", "at": "event:1"}, _CUT, STREAM, _OPENAI),
    Fault(42, "error_as_first_event", {"do": "error_event", "at": "event:0"}, ("server_error", "overloaded"), STREAM),
    Fault(43, "role_then_error", {"do": "role_then_error"}, ("server_error", "overloaded"), STREAM),
    Fault(45, "stall_after_the_role", {"do": "stall", "at": "event:1"}, ("timeout",), STREAM, _OPENAI),
    Fault(46, "pings_and_never_content", {"do": "comments", "count": -1, "ms": 40}, ("timeout",), STREAM),
)  # fmt: skip

# After content: what is played, and what the books may call the end.
CUTS = (
    (44, "reset", {"do": "reset", "at": "content:3"}, ("truncated",)),
    (44, "eof", {"do": "eof", "at": "content:3"}, ("truncated",)),
    (45, "stall", {"do": "stall", "at": "content:3"}, ("stalled",)),
    (44, "error_event", {"do": "error_event", "at": "content:3"}, ("server_error", "overloaded")),
)


def rules() -> list[dict[str, Any]]:
    """Return the mock's script: each rule belongs to one model name."""
    found = [fault.rule | {"match": {"model": fault.model(s)}} for fault in FAULTS for s in fault.streams]
    found += [rule | {"match": {"model": f"cut-{name}"}} for _, name, rule, _ in CUTS]
    found += [rule | {"match": {"model": name}} for name, rule in ODD.items()]
    return found


# Replies that are odd without being failures, by model name.
ODD: dict[str, dict[str, Any]] = {
    "no-usage": {"do": "no_usage"},
    "bad-usage": {"do": "bad_usage"},
    "no-done": {"do": "no_done"},
    "no-finish": {"do": "no_finish"},
    "double-finish": {"do": "double_finish"},
    "late-garbage": {"do": "garbage", "at": "content:3"},
    "comments": {"do": "comments", "at": "event:1", "count": 3},
    "crlf": {"do": "crlf", "text": "crlf"},
    "cr": {"do": "crlf", "text": "cr"},
    "bom": {"do": "crlf", "text": "bom"},
    "slices": {"do": "slices", "bytes": 1},
    "filtered": {"do": "content_filter"},
    "other-model": {"do": "other_model", "text": "another-model"},
    "bad-tool-json": {"do": "bad_tool_json"},
    "invalid-400": {"do": "status", "status": 400, "message": "temperature must be at most 2"},
    "cut-late": {"do": "reset", "at": "content:60"},
    "stall-headers": {"do": "stall", "at": "headers"},
    "stall-content": {"do": "stall", "at": "content:3"},
}


def models() -> list[str]:
    """Return every model name that a rule speaks of."""
    return sorted({str(rule["match"]["model"]) for rule in rules()})
