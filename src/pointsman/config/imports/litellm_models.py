"""LiteLLM's model_list: each entry a deployment of ours, at a provider with its address, key and headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from pointsman.config.addresses import base_url_fault
from pointsman.config.imports.draft import Draft, address, host_of, is_name
from pointsman.config.imports.litellm_readings import INFO_READINGS, PARAM_READINGS, Model, Reading
from pointsman.config.imports.litellm_tables import (
    BY_MODEL,
    LOCAL_KEYS,
    MODEL_IDLE,
    MODEL_LOST,
    NO_KEY,
    PREFIXES,
    PRICES,
    UNSUPPORTED,
    Target,
)
from pointsman.config.imports.source import FROM_ENVIRONMENT, Source
from pointsman.config.problem import Place, short
from pointsman.config.providers import CREDENTIAL_HEADERS, OUR_HEADERS

_AZURE = re.compile(r"https://([\w-]+)\.openai\.azure\.com(?:/openai(?:/v1)?)?/?", re.ASCII)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_SECRET_NAME = re.compile(r"key|token|secret|auth|passw|cookie|credential", re.IGNORECASE)


class Unusable(Exception):
    """Say why an entry cannot become a deployment."""


def read_models(source: Source, draft: Draft) -> list[Model]:
    """Return the usable entries of model_list, their providers in `draft`; the others are noted."""
    listed = source.data.get("model_list")
    if not isinstance(listed, list):
        if "model_list" in source.data:
            source.lost(("model_list",), "is not a list of models.")
        return []
    shared = _credentials(source)
    models: list[Model] = []
    for index, entry in enumerate(listed):
        at: Place = ("model_list", index)
        try:
            models.append(_Reader(source, draft, at, shared).read(entry))
        except Unusable as why:
            source.lost(at, f"left out: {why}")
    return models


def _credentials(source: Source) -> dict[str, tuple[Place, dict[str, Any]]]:
    """Return the shared credentials by name, each with its place."""
    found: dict[str, tuple[Place, dict[str, Any]]] = {}
    listed = source.data.get("credential_list")
    for index, one in enumerate(listed if isinstance(listed, list) else ()):
        at: Place = ("credential_list", index)
        values = one.get("credential_values") if isinstance(one, dict) else None
        if isinstance(values, dict) and isinstance(one.get("credential_name"), str):
            found[one["credential_name"]] = ((*at, "credential_values"), values)
            source.idle(at, "taken from here by the models that name it.")
        else:
            source.lost(at, "is no credential with a name and values.")
    return found


class _Reader:
    """Read one entry."""

    def __init__(
        self, source: Source, draft: Draft, at: Place, shared: dict[str, tuple[Place, dict[str, Any]]]
    ) -> None:
        self.source, self.draft, self.at, self.shared = source, draft, at, shared
        self.values: dict[str, tuple[Place, Any]] = {}  # of litellm_params
        self.model = Model(at, "")

    def read(self, entry: Any) -> Model:
        """Return the entry as a Model. Raise Unusable."""
        if not isinstance(entry, dict) or not isinstance(entry.get("litellm_params"), dict):
            raise Unusable("it is no mapping with model_name and litellm_params.")
        group, params = entry.get("model_name"), entry["litellm_params"]
        if not isinstance(group, str) or not group or not isinstance(params.get("model"), str):
            raise Unusable("model_name and litellm_params.model must be text.")
        if "*" in group or "*" in params["model"]:
            raise Unusable("a wildcard; name the models that are used, one entry each.")
        info = entry.get("model_info")
        mode = info.get("mode", "chat") if isinstance(info, dict) else "chat"
        if mode != "chat":
            raise Unusable(f'mode "{short(str(mode))}"; only chat completions are served.')
        self._gather(params)
        self.model.group = group
        provider, model_id = self._provider()
        self.model.provider = provider
        self.model.settings = {"provider": provider, "model": model_id}
        self._each((*self.at, "litellm_params"), params, PARAM_READINGS)
        if isinstance(info, dict):
            self._each((*self.at, "model_info"), info, INFO_READINGS)
        beside = {
            key: value for key, value in entry.items() if key not in ("model_name", "litellm_params", "model_info")
        }
        self._each(self.at, beside, PARAM_READINGS)
        self._finish()
        self.source.seen((*self.at, "model_name"))
        return self.model

    def _gather(self, params: dict[str, Any]) -> None:
        """Collect litellm_params with those of the credential that it names; its own win."""
        named = params.get("litellm_credential_name")
        if named is not None and (not isinstance(named, str) or named not in self.shared):
            raise Unusable(f'there is no credential "{short(str(named))}" in credential_list.')
        if isinstance(named, str):
            place, values = self.shared[named]
            self.values |= {key: ((*place, key), value) for key, value in values.items()}
        self.values |= {key: ((*self.at, "litellm_params", key), value) for key, value in params.items()}

    def _said(self, key: str) -> str:
        """Return a text of litellm_params; "" when it says none."""
        value = self.values.get(key, ((), ""))[1]
        return value.strip() if isinstance(value, str) else ""

    # --- the provider
    def _provider(self) -> tuple[str, str]:
        """Return the provider's name, made if need be, and the model's id there. Raise Unusable."""
        prefix, model_id = self._prefix()
        if prefix in UNSUPPORTED:
            raise Unusable(f"{prefix}: {UNSUPPORTED[prefix]}")
        if prefix not in PREFIXES:
            raise Unusable(f'"{short(prefix)}" is no provider that is known here; with an api_base write openai/MODEL.')
        target = PREFIXES[prefix]
        settings = self._address(prefix, target)
        settings |= self._key(prefix, target, own="base_url" in settings)
        headers = self._headers()
        if headers:
            settings["headers"] = headers
        stem = settings.get("like") or host_of(str(settings.get("base_url", "")))
        if "${" in str(settings.get("base_url", "")):
            stem = target.known or prefix
        return self.draft.provider(stem, settings, self.source.line(self.at)), model_id

    def _prefix(self) -> tuple[str, str]:
        model = self._said("model")
        if model.startswith(FROM_ENVIRONMENT):
            raise Unusable("the model's name stands in a variable, and with it the provider.")
        given = self._said("custom_llm_provider")
        prefix, slash, rest = model.partition("/")
        if given:
            return given, rest if slash and prefix == given else model
        if slash and (prefix in PREFIXES or prefix in UNSUPPORTED):
            return prefix, rest
        for beginning, provider in BY_MODEL.items():
            if model.startswith(beginning):
                return provider, model
        return (prefix, rest) if slash else (model, model)

    def _address(self, prefix: str, target: Target) -> dict[str, Any]:
        """Return `like`, and the address when it is not the known one."""
        named = "api_base" if self._said("api_base") else "base_url"
        base = self._said(named)
        if not base:
            if target.known == "azure" or not target.known:
                raise Unusable(f"{prefix} needs an api_base.")
            return {"like": target.known}
        azure = _AZURE.fullmatch(base)
        if target.known == "azure" and azure:
            return {"like": "azure", "parameters": {"resource": azure[1]}}
        if base.startswith(FROM_ENVIRONMENT):
            url = self.source.text(self.values[named][0], base, "url") + target.suffix
        else:
            base = base.replace("${", "$${").rstrip("/")
            url = base if not target.suffix or base.endswith(target.suffix) else base + target.suffix
            self._check_url(url)
        like = {} if target.known in ("", "openai") else {"like": target.known}
        if target.known == "openai" and urlsplit(url).hostname == "api.openai.com":
            return {"like": "openai"}
        return {**(like or {"dialect": "openai"}), **address(url)}

    def _check_url(self, url: str) -> None:
        fault, _ = base_url_fault(url, insecure=True)
        if fault:
            raise Unusable(f"its api_base {fault}")

    def _key(self, prefix: str, target: Target, *, own: bool) -> dict[str, Any]:
        """Return how the key is given. `own`: the address is not the known one."""
        place, value = self.values.get("api_key", (self.at, None))
        if value is not None and not isinstance(value, str):
            raise Unusable("its api_key is no text.")
        text = (value or "").strip()
        if text.lower() in NO_KEY:
            if value is not None and (own or target.known in LOCAL_KEYS):
                return {"auth": "none"}
            if not target.key or target.known in LOCAL_KEYS or (own and target.known == "openai"):
                return {} if target.known in LOCAL_KEYS else {"auth": "none"}
            return {"api_key": self.source.variable(target.key, place, "where LiteLLM looks for it too", "key")}
        return {"api_key": self.source.secret(place, text, prefix)}

    def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        place, organization = self.values.get("organization", ((), None))
        if isinstance(organization, str):
            self._header(found, "OpenAI-Organization", organization, place)
        place, headers = self.values.get("extra_headers", ((), None))
        for name, value in headers.items() if isinstance(headers, dict) else ():
            self._header(found, name, value, (*place, name))
        return found

    def _header(self, found: dict[str, str], name: str, value: Any, at: Place) -> None:
        plain = isinstance(value, str) and value and value.isascii() and value.isprintable()
        if not plain or not _HEADER.fullmatch(name) or name.lower() in OUR_HEADERS:
            self.source.lost(at, "is no header with a text, or one that the router writes itself.")
        elif name.lower() in CREDENTIAL_HEADERS:
            self.source.lost(at, "a credential; give the provider `api_key` and `auth`.")
        elif _SECRET_NAME.search(name):
            found[name] = self.source.secret(at, value, f"{self.model.group}_{name}")
        else:
            found[name] = self.source.text(at, value)

    # --- the other settings
    def _each(self, at: Place, values: dict[str, Any], readings: Mapping[str, Reading]) -> None:
        for key, value in values.items():
            place = (*at, key)
            if key in readings:
                readings[key](self.source, self.model, (key, value), place)
            elif key in MODEL_IDLE:
                self.source.idle(place, MODEL_IDLE[key])
            elif key in MODEL_LOST:
                self.source.lost(place, MODEL_LOST[key])
            elif value is None:
                self.source.idle(place, "says nothing.")
            else:
                self.source.lost(place, "is no setting that is known here.")

    def _finish(self) -> None:
        model, source = self.model, self.source
        if model.reads:
            model.settings["modalities"] = ["text", *sorted(model.reads)]
        if {"input", "output"} <= model.prices.keys():
            model.settings["price"] = {name: _plain(model.prices[name]) for name in sorted(model.prices, key=_order)}
        else:
            for place in model.price_places:
                source.lost(place, "a price needs both input_cost_per_token and output_cost_per_token.")
        if model.id and not is_name(model.id):
            model.id = ""


def _order(name: str) -> int:
    return list(PRICES.values()).index(name)


def _plain(value: Decimal) -> float | int:
    return int(value) if value == value.to_integral_value() else float(value)
