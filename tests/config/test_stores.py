"""Where the ledger and the key store are: as a URL, which may hold a password."""

from __future__ import annotations

import sys
from importlib import util

import pytest

from pointsman.cli.redact import redacted
from pointsman.config.load import Loaded, load_text
from pointsman.config.problem import ConfigError

BASE = """
providers: {p: {dialect: openai, base_url: "http://127.0.0.1:1/v1", api_key: "${K}"}}
deployments: {a: {provider: p, context: 8000, price: {input: 1, output: 2}}}
"""
ENV = {"K": "sk-0123456789", "URL": "postgresql://me:canary@h:5432/books?sslmode=require", "PASSWORD": "canary"}


def loads(text: str) -> Loaded:
    return load_text(BASE + text, "s.yaml", ENV)


def test_without_a_setting_stores_are_files() -> None:
    for text in ("", "server: {ledger: 'file:', callers: 'file:'}"):
        listener = loads(text).policy.listener
        assert listener.ledger.reveal() == listener.callers.reveal() == "file:"


@pytest.mark.parametrize("url", ["${URL}", "postgres://me:${PASSWORD}@h/books", "postgresql:///books?host=/run/pg"])
def test_a_database_is_named_and_its_password_not_shown(url: str) -> None:
    policy = loads(f'server: {{ledger: "{url}", callers: "{url}"}}').policy
    assert policy.listener.ledger.reveal().startswith("postgres") and "canary" not in repr(policy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "ledger: 'redis://canary@h'",
            "4:18: server.ledger: expected postgresql://[USER:PASSWORD@]HOST[:PORT]/DATABASE",
        ),
        ("callers: 'postgresql://me:canary@h:x/d'", "4:19: server.callers: expected postgresql://"),
        ("ledger: 'postgresql://me:canary@h'", "server.ledger: expected postgresql://"),
        ("ledger: 'canary.sqlite'", "server.ledger: expected postgresql://"),
        ("ledger: 'postgresql://h/d?password=canary'", "server.ledger: has a password behind the `?`."),
    ],
)
def test_what_is_no_store_is_told_without_repeating_it(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(f"server: {{{text}}}")
    assert said in str(caught.value) and "canary" not in str(caught.value)


def test_a_missing_driver_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    real = util.find_spec
    monkeypatch.setattr("pointsman.config.stores.find_spec", lambda name: None if name == "asyncpg" else real(name))
    monkeypatch.delitem(sys.modules, "asyncpg", raising=False)
    with pytest.raises(ConfigError, match=r"server.ledger: needs the driver.*pip install 'pointsman\[postgres\]'"):
        loads("server: {ledger: '${URL}'}")


@pytest.mark.parametrize("name", ["ledger", "callers"])
def test_s07_a_literal_password_is_not_kept_with_the_text(name: str) -> None:
    kept, hidden = redacted(BASE + f"server: {{{name}: 'postgresql://me:canary@h/d', port: 0}}\n")
    assert hidden and "canary" not in kept and "port: 0" in kept
    assert redacted(BASE + f"server: {{{name}: 'postgresql://h/d'}}\n")[1] is False
