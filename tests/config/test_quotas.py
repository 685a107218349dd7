"""The `quotas` section: what it becomes, and the words about what is wrong with it."""

from __future__ import annotations

import pytest

from pointsman.cli.redact import redacted
from pointsman.config.load import Loaded, load_text
from pointsman.config.problem import ConfigError
from pointsman.core.quotas import Quota

BASE = """
deployments: {a: {provider: openai, price: {input: 1, output: 2}, context: 1000}}
routes: {r: {candidates: [a]}}
keys: [{name: dev, key: "0123456789abcdef0123"}]
"""
ENV = {"OPENAI_API_KEY": "sk-canary", "MOST": "30", "REDIS": "redis://u:canary@h"}


def loads(text: str) -> Loaded:
    return load_text(BASE + text, "q.yaml", ENV)


def test_an_entry_becomes_a_quota_for_each_amount() -> None:
    found = loads(
        "quotas: [{name: web, team: web, route: r, requests: 1.5k/m, usd: 0.10/month, degrade: a}]"
    ).policy.quotas
    shared = {"scope": "team", "who": "web", "route": "r", "over": "degrade", "degrade": "a"}
    assert found == (
        Quota(name="web requests", measure="requests", amount=1_500, period="m", **shared),  # type: ignore[arg-type]
        Quota(name="web usd", measure="usd", amount=100_000_000, period="mo", **shared),  # type: ignore[arg-type]
    )
    assert [one.rate_us for one in found] == [60_000_000, 0]


def test_default_is_each_that_no_other_names() -> None:
    default, own, everyone = loads(
        'quotas: [{key: default, requests: "${MOST}/h"}, {key: dev, requests: 60/h}, {tokens: 1M / d}]'
    ).policy.quotas
    assert (default.scope, default.who, default.excepted, default.amount) == ("key", "", ("dev",), 30)
    assert (own.who, own.excepted, everyone.scope, everyone.amount) == ("dev", (), "", 1_000_000)
    assert [one.name for one in (default, own, everyone)] == [
        "each key requests/h",
        "key dev requests/h",
        "all tokens/d",
    ]


def test_a_quota_is_part_of_the_version() -> None:
    versions = {loads(f"quotas: [{{requests: {amount}/m}}]").policy.version for amount in (1, 2)}
    assert len(versions | {loads("").policy.version}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quotas: [{requests: 60}]", '5:21: quotas[0].requests: expected an amount and a period: "60/m"'),
        ("quotas: [{requests: 60/y}]", "5:21: quotas[0].requests: expected an amount and a period"),
        ("quotas: [{requests: 1.5/m}]", "5:21: quotas[0].requests: expected a whole number of requests."),
        ("quotas: [{requests: 0/m}]", "quotas[0].requests: must be more than 0 and at most 60000000 in that time."),
        ("quotas: [{requests: 2M/s}]", "quotas[0].requests: must be more than 0 and at most 1000000 in that time."),
        ("quotas: [{usd: 5/s}]", "quotas[0].usd: money is counted by the minute or longer."),
        ("quotas: [{team: a}]", "5:10: quotas[0]: has no amount: expected one of requests,"),
        ("quotas: [{team: a, key: dev, usd: 1/d}]", '5:20: quotas[0].key: goes not with "team". Write two quotas.'),
        ("quotas: [{route: rr, usd: 1/d}]", 'quotas[0].route: unknown route "rr".'),
        ("quotas: [{degrade: rr, usd: 1/d}]", 'quotas[0].degrade: unknown route "rr".'),
        ("quotas: [{route: r, degrade: r, usd: 1/d}]", "quotas[0].degrade: is the route that has no room."),
        ("quotas: [{over: notify, degrade: r, usd: 1/d}]", "quotas[0].degrade: contradicts over: notify."),
        ("quotas: [{provider: x, usd: 1/d}]", 'quotas[0].provider: unknown provider "x".'),
        ("quotas: [{usd: 1/d}, {usd: 2/d}]", "quotas[1]: counts the same as quotas[0]. Leave one out."),
        ("quotas: [{name: x, usd: 1/d}, {name: x, usd: 2/h}]", 'quotas[1].name: "x" is the name of two quotas.'),
        ("quotas: [{usd: 1/d, uds: 3}]", 'quotas[0]: unknown setting "uds". Did you mean "usd"?'),
        ("quotas: [{usd: 1/d, notify_at: 0}]", "quotas[0].notify_at: must be more than 0."),
        ("server: {counters: 'redis:/x'}", "5:20: server.counters: expected redis://[USER:PASSWORD@]HOST[:PORT]"),
        (
            "server: {counters: 'postgresql://canary@h'}",
            "5:20: server.counters: expected postgresql://[USER:PASSWORD@]HOST",
        ),
        ("server: {counters_lease_ms: 1001}", "server.counters_lease_ms: "),
        (
            "server: {cache: 'http://canary@h'}",
            "5:17: server.cache: expected redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE] or file:.",
        ),
        ("server: {counters: 'memory:', workers: 2}", "server.counters: memory: is one worker's; there are several."),
        ("server: {replicas: 2}", "server.replicas: needs counters that they share."),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert said in str(caught.value) and "canary" not in str(caught.value)


def test_doubts_are_told() -> None:
    (unknown,) = loads("quotas: [{key: devv, usd: 1/d}]").warnings
    assert "no key of this file is called" in str(unknown)
    free = BASE.replace("price: {input: 1, output: 2}, ", "model: nobody-knows, ")
    warned = load_text(free + "quotas: [{usd: 1/d}]", "q.yaml", ENV).warnings
    assert any("money cannot be counted at deployments without a price: a." in str(one) for one in warned)


def test_answers_in_the_server_that_counts_are_doubted() -> None:
    both = "server: {counters: 'redis://h/1', cache: 'redis://h:%d/2'}"
    (said,) = loads(both % 6379).warnings
    assert "server.cache: is the server that counts quotas" in str(said) and not loads(both % 6380).warnings


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = loads("server: {counters: 'postgresql://me:canary@h/d', replicas: 2}").policy
    assert policy.listener.counters.reveal().endswith("@h/d")
    monkeypatch.setattr("pointsman.config.stores.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"server\.counters: needs the driver.*pip install 'pointsman\[postgres\]'"):
        loads("server: {counters: 'postgresql://me:canary@h/d'}")


def test_the_password_of_a_store_is_a_secret() -> None:
    policy = loads('server: {counters: "${REDIS}", replicas: 3}').policy
    assert policy.listener.counters.reveal().startswith("redis://u:") and "canary" not in repr(policy)
    for setting in ("counters", "cache"):
        text, hidden = redacted(BASE + f"server: {{{setting}: 'redis://u:canary@h'}}\n")
        assert hidden and "canary" not in text
    assert redacted(BASE.replace("0123456789abcdef0123", "${K}") + "server: {counters: 'file:'}\n")[1] is False
