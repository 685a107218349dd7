"""The settings of the admin token and of keys that come from the key store."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.cli.redact import redacted
from pointsman.config.load import load_text
from pointsman.config.problem import ConfigError
from pointsman.config.transport import decode, encode
from pointsman.core.policy import Policy

CANARY = "canary-admin-token-0123"
CONFIG = "deployments: {a: {provider: up, model: m}}\nproviders: {up: {dialect: openai, base_url: 'http://127.0.0.1:9/v1'}}\n"


def load(server: str, **env: str) -> Policy:
    return load_text(CONFIG + f"server: {{{server}}}\n", "p.yaml", env, beside=Path()).policy


def test_the_admin_token_is_a_secret_that_reaches_the_control_process() -> None:
    policy = load('admin_token: "${TOKEN}"', TOKEN=CANARY)
    assert CANARY not in repr(policy)
    token = decode(encode(policy)).listener.admin_token
    assert token is not None and token.reveal() == CANARY
    assert policy.version == load('admin_token: "another-token-0123456789"').version  # no version tells of a secret


def test_a_short_admin_token_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"server\.admin_token: is shorter than 16") as told:
        load("admin_token: short")
    assert "short." not in str(told.value)


def test_a_literal_admin_token_is_not_kept_with_the_text() -> None:
    kept, hidden = redacted(CONFIG + f"server: {{admin_token: {CANARY}, port: 0}}\n")
    assert hidden and kept and CANARY not in kept
    assert redacted(CONFIG + 'server: {admin_token: "${TOKEN}"}\n')[1] is False


def test_with_required_keys_nobody_is_let_in_without_one_wherever_it_listens() -> None:
    assert load("").listener.insecure_open
    assert not load("require_keys: true").listener.insecure_open
    assert not load("require_keys: true, host: 0.0.0.0").listener.insecure_open
    with pytest.raises(ConfigError, match="anyone who reaches it"):
        load("host: 0.0.0.0")
    with pytest.raises(ConfigError, match="contradicts require_keys"):
        load("require_keys: true, allow_unauthenticated: true")
