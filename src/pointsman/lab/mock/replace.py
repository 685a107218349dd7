"""Replies that a fault puts in the place of the provider's own: error bodies, web pages, nothing at all."""

from __future__ import annotations

from email.utils import formatdate

from pointsman.lab.faults import Rule
from pointsman.lab.mock.ask import Rejected
from pointsman.lab.mock.steps import Head
from pointsman.lab.mock.twist import Mark
from pointsman.lab.mock.wires import Wire

_HTML = b"<!doctype html><html><head><title>Sign in</title></head><body><h1>Welcome to the network</h1></body></html>"


def problem(rule: Rule) -> Rejected:
    """Return the error that a rule speaks of."""
    found = Rejected(rule.status, rule.message or f"The mock answers {rule.status}.", rule.code)
    found.retry_s = rule.retry_after
    return found


def replacement(rules: tuple[Rule, ...], wire: Wire, key: str, now_s: float, mark: Mark) -> tuple[Head, bytes] | None:
    """Return head and body of the first rule that replaces the whole reply, None without one."""
    for rule in rules:
        if rule.do in ("status", "body", "html", "empty"):
            mark(rule, False)
            body, kind = _replaced_body(rule, wire, key)
            status = rule.status if rule.do == "status" else 200
            dialect = tuple(h for h in wire.headers(key, stream=False) if h[0] != "content-type")
            kinds = () if any(name.lower() == "content-type" for name in rule.headers) else (("content-type", kind),)
            return Head(status, (*kinds, *dialect, *rule.headers.items(), *_retry(rule, now_s)), len(body)), body
    return None


def _replaced_body(rule: Rule, wire: Wire, key: str) -> tuple[bytes, str]:
    if rule.do == "html":
        return (rule.text.encode() if rule.text else _HTML), "text/html"
    if rule.do == "empty":
        return b"", "application/json"
    if rule.text is not None or rule.do == "body":
        return (rule.text or "{}").encode(), "application/json"
    return wire.error(problem(rule), key), "application/json"


def _retry(rule: Rule, now_s: float) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    if rule.retry_after is not None:
        found.append(("retry-after", rule.retry_after))
    if rule.retry_after_date_s is not None:
        found.append(("retry-after", formatdate(now_s + rule.retry_after_date_s, usegmt=True)))
    if rule.retry_after_ms is not None:
        found.append(("retry-after-ms", rule.retry_after_ms))
    return tuple(found)
