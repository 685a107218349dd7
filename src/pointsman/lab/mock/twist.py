"""Faults that stand in what a reply says: changes of its plan."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pointsman.lab.faults import Rule
from pointsman.lab.mock.answer import ChoicePlan, Plan, Tally

Mark = Callable[[Rule, bool], None]
"""Called when a rule takes effect; True says that the reply is cut by it."""


def _each(plan: Plan, change: Callable[[ChoicePlan], ChoicePlan]) -> Plan:
    return msgspec.structs.replace(plan, choices=tuple(map(change, plan.choices)))


def _filtered(choice: ChoicePlan) -> ChoicePlan:
    return ChoicePlan(text=choice.text[: len(choice.text) // 2], finish="content_filter")


def _broken_arguments(choice: ChoicePlan) -> ChoicePlan:
    calls = tuple(msgspec.structs.replace(c, arguments=c.arguments[:-1] + ",oops") for c in choice.calls)
    return msgspec.structs.replace(choice, calls=calls)


_PLAN: dict[str, Callable[[Plan, Rule], Plan]] = {
    "no_usage": lambda plan, _: msgspec.structs.replace(plan, usage=None),
    "bad_usage": lambda plan, _: msgspec.structs.replace(plan, usage=Tally(prompt=-1, output=10**12)),
    "no_content": lambda plan, _: _each(plan, lambda _choice: ChoicePlan()),
    "content_filter": lambda plan, _: _each(plan, _filtered),
    "other_model": lambda plan, rule: msgspec.structs.replace(plan, model=rule.text or "another-model"),
    "bad_tool_json": lambda plan, _: _each(plan, _broken_arguments),
}


def twist(plan: Plan, rules: tuple[Rule, ...], mark: Mark) -> Plan:
    """Return the plan with the faults that stand in what is said rather than in how it travels."""
    for rule in rules:
        change = _PLAN.get(rule.do)
        if change is not None:
            plan = change(plan, rule)
            mark(rule, False)
    return plan
