"""Faults carried out: transforms of a reply's events, of its body and of its bytes. Which fault where: `lab.faults`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import msgspec

from pointsman.lab.faults import Rule
from pointsman.lab.mock.replace import problem
from pointsman.lab.mock.steps import Head, Step, Steps
from pointsman.lab.mock.twist import Mark
from pointsman.lab.mock.wires import Wire

PROCESSING = ": OPENROUTER PROCESSING"
_BIG_BYTES = 20 * 1024 * 1024
_NEVER_ENDING_BYTES = 10_000_000

# --- the events of a stream ------------------------------------------------------------------------------------------


def comment_steps(rule: Rule) -> Iterator[Step]:
    """Yield the comment lines of a `comments` rule; without end if `count` is -1."""
    line = (rule.text or PROCESSING).encode() + b"\n\n"
    left = 3 if rule.count is None else rule.count
    while left:
        yield Step(line, wait_ms=rule.ms or 0.0)
        left -= 1


def _error_event(rule: Rule, wire: Wire) -> Step:
    return Step(wire.error_event(problem(rule)))


_INSERTS: dict[str, Callable[[Rule, Wire], Iterator[Step]]] = {
    "delay": lambda rule, _: iter((Step(wait_ms=rule.ms or 1000.0, op="turn"),)),
    "stall": lambda _rule, _wire: iter((Step(op="hold"),)),
    "reset": lambda _rule, _wire: iter((Step(op="reset"),)),
    "eof": lambda _rule, _wire: iter((Step(op="eof"),)),
    "garbage": lambda rule, _: iter((Step((rule.text or 'data: {"id": "chatcmpl-1", "cho').encode() + b"\n\n"),)),
    "big_event": lambda rule, wire: iter((Step(wire.filler_event(rule.bytes or _BIG_BYTES)),)),
    "comments": lambda rule, _: comment_steps(rule),
    "error_event": lambda rule, wire: iter((_error_event(rule, wire),)),
}


def _insert(steps: Steps, rule: Rule, wire: Wire, mark: Mark) -> Steps:
    """Put a rule's steps at its place; after an error event nothing follows."""
    kind, number = rule.place()
    ends = rule.do == "error_event" and kind != "end"
    seen, done = 0, kind == "end"
    for step in steps:
        early = number == 0 and (kind in ("event", "headers") or step.kind == "content")
        if not done and early:
            done = True
            mark(rule, ends)
            yield from _INSERTS[rule.do](rule, wire)
            if ends:
                return
        yield step
        seen += kind == "event" or step.kind == "content"
        if not done and number and seen == number:
            done = True
            mark(rule, ends)
            yield from _INSERTS[rule.do](rule, wire)
            if ends:
                return
    if kind == "end":
        mark(rule, ends)
        yield from _INSERTS[rule.do](rule, wire)


def _role_then_error(steps: Steps, rule: Rule, wire: Wire, mark: Mark) -> Steps:
    for step in steps:
        if step.kind == "content":
            break
        yield step
    yield Step((PROCESSING + "\n\n").encode())
    mark(rule, True)
    yield _error_event(rule, wire)


def _without(kinds: tuple[str, ...]) -> Callable[[Steps, Rule, Wire, Mark], Steps]:
    def drop(steps: Steps, rule: Rule, _wire: Wire, mark: Mark) -> Steps:
        for step in steps:
            if step.kind in kinds:
                mark(rule, False)
            else:
                yield step

    return drop


def _no_done(steps: Steps, rule: Rule, wire: Wire, mark: Mark) -> Steps:
    """Drop the terminal marker: the last event of kind done, or of kind finish where the format has no other."""
    held: Step | None = None
    for step in steps:
        if held is not None:
            yield held
        held = step
    mark(rule, False)
    if held is not None and held.kind not in ("done", "finish"):
        yield held


def _double_finish(steps: Steps, rule: Rule, _wire: Wire, mark: Mark) -> Steps:
    for step in steps:
        yield step
        if step.kind == "finish":
            mark(rule, False)
            yield step._replace(tokens=0)


def _lines(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _multiline(data: bytes) -> bytes:
    return _lines(data).replace(b',"', b',\ndata: "', 1)


_LINE_STYLES: dict[str, Callable[[bytes], bytes]] = {
    "crlf": lambda data: _lines(data).replace(b"\n", b"\r\n"),
    "cr": lambda data: _lines(data).replace(b"\n", b"\r"),
    "bom": lambda data: data,
    "multiline": _multiline,
    "nospace": lambda data: data.replace(b"data: ", b"data:", 1),
    "fields": lambda data: b"retry: 5000\nx-unknown: 1\n" + data,
}


def _line_ends(steps: Steps, rule: Rule, _wire: Wire, mark: Mark) -> Steps:
    style = rule.text or "crlf"
    mark(rule, False)
    front = b"\xef\xbb\xbf" if style == "bom" else b""
    for step in steps:
        yield step._replace(data=front + _LINE_STYLES.get(style, _lines)(step.data)) if step.data else step
        front = b"" if step.data else front


def _drip(steps: Steps, rule: Rule, _wire: Wire, mark: Mark) -> Steps:
    kind, number = rule.place()
    seen, wait_ms, size = 0, 1000.0 if rule.ms is None else rule.ms, rule.bytes or 1
    told = False
    for step in steps:
        if kind != "end" and seen >= number and step.data and (kind != "content" or seen or step.kind == "content"):
            if not told:
                told = True
                mark(rule, False)
            yield from _cut_up(step, size, wait_ms, "write")
        else:
            yield step
        seen += kind == "event" or (kind == "content" and step.kind == "content")


def _cut_up(step: Step, size: int, wait_ms: float, op: str) -> Steps:
    """Yield the bytes of a step in parts; its tokens count with the last."""
    data, last = step.data, max(len(step.data) - size, 0)
    for at in range(0, len(data), size):
        final = at >= last
        yield step._replace(
            data=data[at : at + size],
            tokens=step.tokens if final else 0,
            wait_ms=step.wait_ms if at == 0 else wait_ms,
            op="turn" if op == "turn" else step.op,
        )
        if final:
            return


def _truncate(steps: Steps, rule: Rule, _wire: Wire, mark: Mark) -> Steps:
    left = 200 if rule.bytes is None else rule.bytes
    for step in steps:
        if len(step.data) > left:
            break
        left -= len(step.data)
        yield step
    else:
        return
    mark(rule, True)
    yield step._replace(data=step.data[:left], tokens=0)
    yield Step(op="eof")


_EVENTS: dict[str, Callable[[Steps, Rule, Wire, Mark], Steps]] = {
    **dict.fromkeys(_INSERTS, _insert),
    "role_then_error": _role_then_error,
    "no_done": _no_done,
    "no_finish": _without(("finish",)),
    "double_finish": _double_finish,
    "crlf": _line_ends,
    "drip": _drip,
    "truncate": _truncate,
}
_BEFORE_HEAD = ("delay", "stall", "reset", "eof")


def distort_events(steps: Steps, rules: tuple[Rule, ...], wire: Wire, mark: Mark) -> Steps:
    """Return the events of a stream with the faults that happen between or in them."""
    for rule in rules:
        change = _EVENTS.get(rule.do)
        at_head = rule.where == "headers" and rule.do in (*_BEFORE_HEAD, "drip")
        if change is not None and not at_head:
            steps = change(steps, rule, wire, mark)
    return steps


# --- the body of a reply that is no stream ---------------------------------------------------------------------------

_BODIES: dict[str, Callable[[bytes, Rule, Wire], bytes]] = {
    "garbage": lambda body, rule, _: (rule.text or '{"id": "chatcmpl-1", "cho').encode(),
    "big_event": lambda body, rule, _: body + b" " * (rule.bytes or _BIG_BYTES),
    "error_event": lambda _body, rule, wire: wire.error(problem(rule), "0"),
    "role_then_error": lambda _body, rule, wire: wire.error(problem(rule), "0"),
}


def distort_body(body: bytes, rules: tuple[Rule, ...], wire: Wire, mark: Mark) -> bytes:
    """Return the whole body with the faults that change its bytes."""
    for rule in rules:
        change = _BODIES.get(rule.do)
        if change is not None:
            mark(rule, False)
            body = change(body, rule, wire)
    return body


def body_steps(step: Step, rules: tuple[Rule, ...], wire: Wire, mark: Mark) -> Steps:
    """Return the body as steps, cut in half where a rule's place is an event, and faults put there."""
    steps: Steps = iter((step,))
    half = len(step.data) // 2
    parts = (step._replace(data=step.data[:half], tokens=0), step._replace(data=step.data[half:], wait_ms=0.0))
    for rule in rules:
        kind, _ = rule.place()
        if rule.do == "truncate":
            whole = rule if rule.bytes is not None else msgspec.structs.replace(rule, bytes=half)
            steps = _truncate(steps, whole, wire, mark)
        elif rule.do in _BEFORE_HEAD and kind != "headers":
            at_end = kind == "end"
            between = _INSERTS[rule.do](rule, wire)
            mark(rule, False)
            steps = chain(steps, between) if at_end else chain((parts[0],), between, (parts[1],))
        elif rule.do == "drip" and kind in ("event", "content"):
            mark(rule, False)
            wait_ms = 1000.0 if rule.ms is None else rule.ms
            steps = chain((parts[0],), _cut_up(parts[1], rule.bytes or 1, wait_ms, "write"))
    return steps


# --- the reply on the wire -------------------------------------------------------------------------------------------


def distort_head(head: Head, rules: tuple[Rule, ...], mark: Mark) -> Head:
    """Return the head with a wrong length declared, if a rule says so; the sender then closes after the body."""
    for rule in rules:
        if rule.do == "wrong_content_length":
            mark(rule, True)
            more = _NEVER_ENDING_BYTES if head.length is None else head.length + (rule.bytes or 10)
            head = head._replace(length=more)
    return head


def distort_wire(steps: Steps, rules: tuple[Rule, ...], mark: Mark) -> Steps:
    """Return the framed bytes with the faults of transport, and what happens before the first of them in front."""
    for rule in rules:
        if rule.do == "slices":
            mark(rule, False)
            steps = _sliced(steps, rule.bytes or 1, 0.0, "turn")
        elif rule.do == "wrong_content_length":
            steps = chain(steps, (Step(op="eof"),))
        elif rule.where == "headers" and rule.do == "drip":
            mark(rule, False)
            steps = _sliced(steps, rule.bytes or 1, 1000.0 if rule.ms is None else rule.ms, "write")
        elif rule.where == "headers" and rule.do in _BEFORE_HEAD:
            mark(rule, False)
            steps = chain(_early(rule), steps)
    return steps


def _early(rule: Rule) -> tuple[Step, ...]:
    if rule.do == "delay":
        return (Step(wait_ms=rule.ms or 1000.0, op="turn"),)
    return (Step(op="hold" if rule.do == "stall" else "reset" if rule.do == "reset" else "eof"),)


def _sliced(steps: Steps, size: int, wait_ms: float, op: str) -> Steps:
    for step in steps:
        if step.data:
            yield from _cut_up(step, size, wait_ms, op)
        else:
            yield step
