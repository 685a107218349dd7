"""The settings of `server.oidc`: what they become, and what is wrong with them is said with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.config import oidc
from pointsman.config.load import load_text
from pointsman.config.problem import ConfigError
from pointsman.config.transport import decode, encode
from pointsman.core.issuer import Claims, Issuer
from pointsman.core.policy import Policy

UP = {"up": {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1"}}
CONFIG = {"providers": UP, "deployments": {"a": {"provider": "up", "model": "m"}}}
PLAIN = {"issuer": "https://login.example.com/x", "audience": ["pointsman"]}


def load(*issuers: dict[str, Any], **server: Any) -> Policy:
    text = yaml.safe_dump(CONFIG | {"server": {"oidc": list(issuers)} | server})
    return load_text(text, "p.yaml", {}, beside=Path()).policy


def test_an_issuer_says_little_and_has_safe_defaults() -> None:
    policy = load(PLAIN)
    [made] = policy.listener.issuers
    assert made == Issuer(name="login.example.com", url="https://login.example.com/x", audiences=("pointsman",))
    assert made.algorithms == ("RS256", "ES256") and made.leeway_ms == 30_000 and made.claims == Claims()
    assert decode(encode(policy)).listener.issuers == (made,)
    assert not policy.listener.insecure_open  # nobody comes in without a credential
    assert load(PLAIN, host="0.0.0.0").listener.host == "0.0.0.0"
    assert load(PLAIN | {"denied": ["t1"]}).version != policy.version


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"issuer": "http://login.example.com"}, r"oidc\[0\]\.issuer: is http:// to another machine"),
    ({"issuer": "https://u:secret@login.example.com"}, r"oidc\[0\]\.issuer: must not hold a credential"),
    ({"issuer": "login.example.com"}, "starts with https"),
    ({"jwks_url": "http://10.0.0.1/keys"}, "jwks_url: is http:// to another machine"),
    ({"jwks_url": "file:///etc/passwd"}, "starts with https"),
    ({"audience": []}, r"oidc\[0\]\.audience"),
    ({"algorithms": ["HS256"]}, r"oidc\[0\]\.algorithms"),
    ({"algorithms": ["none"]}, r"oidc\[0\]\.algorithms"),
    ({"algorithms": []}, r"oidc\[0\]\.algorithms"),
    ({"leeway_s": 301}, "leeway_s"),
    ({"roles": {"ops": "root"}, "claims": {"roles": "r"}}, "roles"),
    ({"roles": {"ops": "admin"}}, "no claim of roles is named"),
    (
        {"roles": {"ops": "organisation_admin"}, "claims": {"roles": "r"}},
        "grants in an organisation, and none is named",
    ),
    ({"route_prefix": "m:"}, "no claim of routes is named"),
    ({"organisation": "acme", "claims": {"organisation": "org"}}, "contradicts claims.organisation"),
    ({"organisation": "a/b"}, "organisation"),
    ({"name": "a#b"}, "name"),
    ({"tags": ["a,b"]}, "tags"),
    ({"routes": ["nowhere"]}, r"oidc\[0\]\.routes\[0\]: unknown route"),
    ({"ca_file": "nothing.pem"}, "no such file"),
    ({"audiences": ["x"]}, "audience"),
)


@pytest.mark.parametrize(("more", "said"), BAD)
def test_what_is_wrong_is_said_with_its_place(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as told:
        load(PLAIN | more)
    assert "p.yaml:" in str(told.value) and "secret" not in str(told.value)


def test_two_entries_of_one_name_are_told_apart_by_a_name() -> None:
    with pytest.raises(ConfigError, match="is the name of two"):
        load(PLAIN, PLAIN | {"audience": ["other"]})
    assert len(load(PLAIN, PLAIN | {"audience": ["other"], "name": "apps"}).listener.issuers) == 2


def test_a_missing_library_is_said_when_the_config_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed.*\n?.*pointsman\[oidc\]"):
        load(PLAIN)
    assert load().listener.issuers == ()
