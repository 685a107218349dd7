"""The `notify` section: what it makes, and what it refuses without repeating a secret."""

from __future__ import annotations

from datetime import date

import pytest
import yaml

from pointsman.cli.redact import redacted
from pointsman.config.load import Options, load_text
from pointsman.config.problem import ConfigError
from pointsman.core.notice import Channel
from pointsman.core.policy import Policy

BASE = {
    "providers": {"p": {"dialect": "openai", "base_url": "http://127.0.0.1:1/v1"}},
    "deployments": {"a": {"provider": "p", "model": "m"}},
}


def loaded(*entries: dict[str, object]) -> Policy:
    text = yaml.safe_dump(BASE | {"notify": list(entries)}, sort_keys=False)
    return load_text(
        text, "t.yaml", {"HOOK": "https://example.com/canary-hook"}, Options(today=date(2026, 11, 22))
    ).policy


def channel(**entry: object) -> Channel:
    (made,) = loaded({"name": "ops"} | entry).listener.channels
    return made


def test_webhooks_and_mail_are_channels() -> None:
    hook = channel(url="${HOOK}", kinds=["quota", "price"], quiet="1h")
    assert (hook.format, hook.url.reveal(), hook.kinds, hook.quiet_s) == (
        "json",
        "https://example.com/canary-hook",
        ("quota", "price"),
        3_600.0,
    )
    assert channel(url="https://hooks.slack.com/services/x").format == "slack"
    mail = channel(email=["a@example.com", "b@example.com"], smtp="smtps://u:p@mail.example.com")
    assert (mail.format, mail.to, mail.sender) == ("email", ("a@example.com", "b@example.com"), "a@example.com")


def test_who_is_told_decides_nothing_for_a_request() -> None:
    assert "canary" not in repr(loaded({"name": "ops", "url": "${HOOK}"}))


WRONG = [
    ({}, "either url or email"),
    ({"url": "${HOOK}", "email": ["a@example.com"], "smtp": "smtp://x"}, "either url or email"),
    ({"url": "http://example.com/canary"}, "http:// to another machine"),
    ({"url": "ftp://example.com/canary"}, "expected a URL"),
    ({"url": "${HOOK}", "smtp": "smtp://canary"}, "is for mail"),
    ({"email": ["a@example.com"]}, "has no mail server"),
    ({"email": ["a@example.com"], "smtp": "https://canary"}, "expected smtp://"),
    ({"email": ["a@example.com\nBcc: b@example.com"], "smtp": "smtp://x"}, "email"),
    ({"email": ["a@example.com"], "smtp": "smtp://x", "format": "json"}, "is for a webhook"),
    ({"url": "${HOOK}", "kinds": ["quotas"]}, "kinds"),
]


@pytest.mark.parametrize(("entry", "said"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_told_without_the_secret(entry: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as failed:
        loaded({"name": "ops"} | entry)
    assert said in str(failed.value) and "canary" not in str(failed.value)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError) as failed:
        loaded({"name": "ops", "url": "${HOOK}"}, {"name": "ops", "url": "${HOOK}"})
    assert "is the name of two" in str(failed.value)


def test_literal_urls_are_cut_out_of_kept_texts() -> None:
    text = "notify:\n  - name: ops\n    url: https://example.com/canary-hook\n  - {name: m, email: [a@b.c], smtp: 'smtp://u:canary@h'}\n"
    kept, hidden = redacted(text)
    assert hidden and kept and "canary" not in kept and "name: ops" in kept
