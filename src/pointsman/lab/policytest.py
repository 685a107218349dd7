"""Policytest: tests of policies as data: a request, the state of the world, and what is expected of the decision."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
from msgspec import Meta, structs

from pointsman.config.document import Document
from pointsman.config.plain import plainly
from pointsman.config.problem import ConfigError, Problem, dotted
from pointsman.core.explain import REASONS
from pointsman.core.policy import Policy
from pointsman.core.pricing import NANO_PER_USD
from pointsman.core.routing import Stay
from pointsman.dialects.base import WireError
from pointsman.dialects.said import SESSION_HEADERS
from pointsman.lab.offline import NOW_MS, Answered, Given, Offline
from pointsman.lab.situation import Caller, Measured, Priced, Word, states_of, with_prices

DRAWS = tuple((n + 0.5) / 40 for n in range(40))  # a test without a seed must hold for each of these
Share = Annotated[float, Meta(ge=0, le=1)]
SOME_TIME = datetime(2026, 1, 5, 12, tzinfo=UTC)  # of tests that say none, a Monday: they must not depend on the clock
NEAR = 0.001  # of expected probabilities


class Conversation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Say which deployment has answered the conversation, and how many input tokens it has read."""

    deployment: str = msgspec.field(name="with")
    input_tokens: int = 0


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hold what is expected; what is left out may be anything. `deployment` is one name or several of which one must be
    chosen; `never` are names that must not stand in the plan; `plan` are those it must begin with, in order."""

    route: str | None = None
    deployment: str | list[str] | None = None
    never: list[str] = []
    plan: list[str] | None = None
    arm: str | None = None
    path: list[str] | None = None
    degraded: str | None = None
    refused: str | None = None
    relaxed: list[str] | None = None
    ladder: list[str] | None = None
    max_usd: float | None = None
    reasons: dict[str, str] = {}
    probability: dict[str, Share] = {}


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hold one test. `request` is the body of a chat request; `prompt` a short way to write its messages."""

    name: str
    request: dict[str, Any]
    prompt: str | None = None
    input_tokens: int | None = None
    caller: Caller = Caller()
    headers: dict[str, str] = {}
    at: datetime = SOME_TIME
    state: dict[str, Word | Measured] = {}
    prices: dict[str, Priced] = {}
    spent_usd: dict[str, float] = {}
    active: int = 0
    conversation: Conversation | None = None
    seed: Share | None = None
    expect: Expect


class Result(msgspec.Struct, frozen=True):
    """Hold how one test ended: `problems` is empty when it passed; `got` is the decision that failed, told as data."""

    name: str
    problems: list[str] = []
    got: dict[str, Any] | None = None


class PolicyTests(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold a file of tests. `config` stands beside the file."""

    tests: Annotated[list[Case], Meta(min_length=1)]
    config: str | None = None


def names_of(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of a struct's members as a file writes them."""
    return struct.__struct_encode_fields__


_FIELDS = tuple(
    sorted({field for one in (PolicyTests, Case, Expect, Caller, Measured, Priced) for field in names_of(one)})
)


def read(document: Document) -> PolicyTests:
    """Return the tests of a YAML document. Raise ConfigError that says in which line what is wrong."""
    if document.problems:
        raise ConfigError(document.problems)
    try:
        return msgspec.convert(document.data, PolicyTests, strict=True)
    except msgspec.ValidationError as error:
        path, message = plainly(error, _FIELDS)
        line, column = document.mark(path, key=True)
        raise ConfigError([Problem(document.file, line, column, dotted(path), message)]) from None


def run(policy: Policy, tests: PolicyTests) -> Iterator[Result]:
    """Run each test: a test without a seed must hold for every draw of a fixed grid."""
    offline = Offline(policy)
    for case in tests.tests:
        try:
            yield _ran(offline, case)
        except (ValueError, KeyError) as error:
            told = f"no route is called {error}" if isinstance(error, KeyError) else str(error)
            yield Result(case.name, [told])


def _names_known(policy: Policy, case: Case) -> None:
    """Raise ValueError for a name that the policy does not know: a test of nobody passes and tests nothing."""
    expect = case.expect
    if expect == Expect():
        raise ValueError("expects nothing")
    deployments = {d.name for d in policy.deployments}
    routes = {name for name, one in policy.routes.items() if not one.hidden}
    chosen = [expect.deployment] if isinstance(expect.deployment, str) else expect.deployment or []
    talk = [case.conversation.deployment] if case.conversation is not None else []
    named = [*chosen, *expect.never, *(expect.plan or []), *expect.reasons, *expect.probability, *talk]
    headers = {*policy.listener.rule_headers, *SESSION_HEADERS}
    for kind, names, known in (
        ("deployment", named, deployments),
        ("route", [*case.spent_usd, *([expect.route] if expect.route else [])], routes),
        ("header that rules see (server.rule_headers)", [name.lower() for name in case.headers], headers),
        ("reason", [reason for reason in expect.reasons.values() if reason != "eligible"], set(REASONS)),
    ):
        for name in names:
            if name not in known:
                near = get_close_matches(name, known, 1)
                raise ValueError(f'"{name}" is no {kind}' + (f'; did you mean "{near[0]}"?' if near else ""))


def _ran(offline: Offline, case: Case) -> Result:
    _names_known(offline.policy, case)
    if case.prices:
        offline = Offline(with_prices(offline.policy, case.prices))
    body, given = body_of(case.request, case.prompt), given_of(offline.policy, case)
    try:
        for seed in DRAWS if case.seed is None else (min(case.seed, 1.0 - 1e-9),):
            answered = offline.decide(body, structs.replace(given, seed=seed))
            problems = list(_differences(case.expect, answered))
            if problems:
                return Result(case.name, problems, answered.told())
            if _is_certain(answered):
                break
    except WireError as error:
        raise ValueError(f"request: {error}") from None
    return Result(case.name)


def _is_certain(answered: Answered) -> bool:
    """Tell whether every draw gives this decision: nothing was left to chance on the way or in the choice."""
    detail, chances = answered.decision.snapshot.detail, answered.decision.probabilities
    units = detail is not None and bool(detail.units)
    return not units and (not chances or chances[0] >= 1.0) and not answered.options.route.explore


def body_of(request: dict[str, Any], prompt: str | None) -> bytes:
    """Return the body of a request; without messages of its own it has one of the user: `prompt`."""
    messages = {"messages": [{"role": "user", "content": prompt or "Hello"}]} if "messages" not in request else {}
    return msgspec.json.encode({**request, **messages})


def given_of(policy: Policy, case: Case) -> Given:
    """Return the surroundings a test describes. Raise ValueError for names that the policy does not know."""
    at = case.at
    wall_ms = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    with_whom = case.conversation
    return Given(
        states=states_of(policy, case.state),
        caller=case.caller.to_key(),
        headers={name.lower(): value.encode("latin-1", "replace") for name, value in case.headers.items()},
        wall_ms=wall_ms,
        spent_nano={route: round(usd * NANO_PER_USD) for route, usd in case.spent_usd.items()},
        active=case.active,
        stay=None if with_whom is None else Stay(with_whom.deployment, NOW_MS * 2, with_whom.input_tokens),
        input_tokens=case.input_tokens,
    )


def _differences(expect: Expect, answered: Answered) -> Iterator[str]:
    """Say in what the decision differs from what was expected."""
    got = answered.told()
    for name in ("route", "arm", "path", "degraded", "refused", "relaxed", "ladder"):
        wanted = getattr(expect, name)
        if wanted is not None and got[name] != wanted:
            yield f"{name}: expected {_shown(wanted)}, got {_shown(got[name])}"
    wanted = [expect.deployment] if isinstance(expect.deployment, str) else expect.deployment
    if wanted is not None and got["deployment"] not in wanted:
        yield f"deployment: expected {' or '.join(wanted)}, got {got['deployment'] or 'nobody'}"
    if expect.plan is not None and got["plan"][: len(expect.plan)] != expect.plan:
        yield f"plan: expected {_shown(expect.plan)} first, got {_shown(got['plan'])}"
    for name in expect.never:
        if name in got["plan"]:
            yield f"never: {name} is in the plan {_shown(got['plan'])}"
    if expect.max_usd is not None:
        usd = got["predicted_usd"]
        if usd is None or usd > expect.max_usd:
            yield f"max_usd: expected at most {expect.max_usd:g}, got {'unpriced' if usd is None else f'{usd:g}'}"
    by_name = {candidate["deployment"]: candidate for candidate in reversed(got["candidates"])}
    for name, reason in expect.reasons.items():
        found = by_name.get(name)
        if found is None:
            yield f"reasons: {name} is no candidate"
        elif found["reason"] != reason.replace("eligible", ""):
            yield f"reasons: expected {name} to be {reason}, got {found['reason'] or 'eligible'}"
    for name, share in expect.probability.items():
        chance = (by_name.get(name) or {}).get("probability") or 0.0
        if abs(chance - share) > NEAR:
            yield f"probability: expected {share:g} for {name}, got {chance:.4g}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return str(value) or "none"


def standing(candidate: dict[str, Any]) -> str:
    """Return how a candidate stood, in a few words."""
    if candidate["reason"]:
        return REASONS[candidate["reason"]]
    score = "" if candidate["score"] is None else f", score {candidate['score']:.4g}"
    return f"number {candidate['rank']} in the plan{score}"
