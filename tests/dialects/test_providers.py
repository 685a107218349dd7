"""The table of well-known providers."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from pointsman.dialects.base import AUTH_STYLES, WireError
from pointsman.dialects.providers import PROVIDERS, KnownProvider, filled
from pointsman.dialects.registry import DIALECTS


def test_there_are_at_least_thirty_providers() -> None:
    assert len(PROVIDERS) >= 30


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
def test_every_row_is_usable(provider: KnownProvider) -> None:
    url = urlsplit(provider.base_url)
    assert url.hostname and not provider.base_url.endswith("/") and not url.query
    assert url.scheme == "https" or url.hostname == "127.0.0.1"
    assert provider.dialect in DIALECTS and provider.auth in AUTH_STYLES
    assert bool(provider.key_env) == (provider.auth != "none")
    assert all(name == name.upper() and name.isidentifier() for name in provider.key_env)


def test_parameters_of_an_address_are_filled_or_named() -> None:
    azure = PROVIDERS["azure"]
    assert azure.parameters == ("resource",)
    assert filled(azure.base_url, {"resource": "yard-7"}) == "https://yard-7.openai.azure.com/openai/v1"
    for bad in ({}, {"resource": ""}, {"resource": "evil.example/x"}, {"resource": "a@b"}, {"resource": "ü"}):
        with pytest.raises(WireError, match="resource"):
            filled(azure.base_url, bad)
