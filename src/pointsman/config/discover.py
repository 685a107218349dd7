"""Discover: a configuration made of the providers' keys that the environment holds, for a start without a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pointsman.config import known
from pointsman.config.document import Document
from pointsman.config.environment import Borrowed
from pointsman.config.known import KnownProvider
from pointsman.config.load import DEFAULTS, Loaded, Options, finish
from pointsman.config.overlay import overlay
from pointsman.config.problem import ConfigError, Problem

SOURCE = "environment"
CLIENT_KEY = "POINTSMAN_KEY"
ROUTE = "auto"
MOST_PER_PROVIDER = 3


def from_environment(env: Mapping[str, str], options: Options = DEFAULTS) -> Loaded:
    """Return what can be served with the keys in `env`: 1 to 3 current models of each provider, and a route `auto`
    over all of them.

    `auto` is `cheapest`, because a start without a file should not surprise with its bill: a dearer model answers only
    what no cheaper one can (images, tools, length) or while the cheaper ones fail. POINTSMAN_KEY, if set, becomes the
    client key. Raise ConfigError, saying what to do next, when no provider's key is set.
    """
    found = [one for one in known.PROVIDERS.values() if _variable(one, env) and not one.parameters]
    models = {one.name: overlay().automatic(one.name)[:MOST_PER_PROVIDER] for one in found}
    if not any(models.values()):
        raise ConfigError([_nothing([one for one in found if not models[one.name]], env)])
    document = Document(SOURCE)
    document.data = _written(models, env)
    loaded = finish(document, env, options, Path())
    idle = tuple(
        Problem(SOURCE, 0, 0, "", f"{_variable(one, env)} is set, but no model of {one.name} is listed here.", _WRITE)
        for one in found
        if not models[one.name]
    )
    return msgspec.structs.replace(loaded, warnings=(*loaded.warnings, *idle))


_WRITE = "Write a config file to use it."


def _written(models: Mapping[str, list[str]], env: Mapping[str, str]) -> dict[str, Any]:
    deployments: dict[str, dict[str, str]] = {}
    for provider, names in models.items():
        for model in names:
            name = f"{provider}/{model}" if "/" in model or model in deployments else model
            deployments[name] = {"provider": provider, "model": model}
    data: dict[str, Any] = {
        "providers": {provider: {} for provider, names in models.items() if names},
        "deployments": deployments,
        "routes": {ROUTE: {"candidates": list(deployments), "strategy": "cheapest"}},
    }
    if env.get(CLIENT_KEY, "").strip():
        data["keys"] = [{"name": "default", "key": Borrowed(env[CLIENT_KEY])}]
    return data


def _variable(one: KnownProvider, env: Mapping[str, str]) -> str:
    """Return the environment variable that holds a provider's key, or ""."""
    return next((variable for variable in one.key_env if env.get(variable, "").strip()), "")


def _nothing(idle: list[KnownProvider], env: Mapping[str, str]) -> Problem:
    usable = [one for one in known.PROVIDERS.values() if one.key_env and overlay().automatic(one.name)]
    variables = ", ".join(one.key_env[0] for one in usable)
    said = f" ({', '.join(_variable(one, env) for one in idle)} is set, but needs a config file.)" if idle else ""
    message = f"no provider's key is set.{said}"
    hint = (
        "Set one, for example `export OPENAI_API_KEY=...`, and start again; or write a config file and run "
        f"`pointsman serve FILE`. Keys looked for: {variables}."
    )
    return Problem(SOURCE, 0, 0, "", message, hint)
