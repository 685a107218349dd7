"""Overlay: our own file of model facts (`overlay.yaml`), with where and when each was read."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any

import msgspec

from pointsman.core.policy import Modality

_SNAPSHOT = re.compile(r"-(?:20\d{6}|20\d{2}-\d{2}-\d{2})$")


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold the facts of one model at one provider; None is unknown. Tokens are counts, `retires` an ISO date."""

    source: str
    context: int | None = None
    max_output: int | None = None
    modalities: tuple[Modality, ...] | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None
    retires: str | None = None
    aliases: tuple[str, ...] = ()
    price: dict[str, float] | None = None  # as in the config file: USD per million tokens
    sources: dict[str, str] = {}
    auto: int = 0  # rank among the models that a start without a config file uses; 0: not used
    note: str = ""


class Overlay(msgspec.Struct, frozen=True):
    """Hold the file: when it was last gone through, and provider -> model id -> Entry."""

    seen: str
    models: dict[str, dict[str, Entry]]

    def find(self, provider: str, model: str) -> Entry | None:
        """Return the facts of a model by its id, an alias, or its id without the date of a snapshot."""
        entries = self.models.get(provider, {})
        for name in (model, _SNAPSHOT.sub("", model)):
            if name in entries:
                return entries[name]
            for entry in entries.values():
                if name in entry.aliases:
                    return entry
        return None

    def automatic(self, provider: str) -> list[str]:
        """Return the models of a provider that a start without a config file uses, best first."""
        ranked = [(entry.auto, model) for model, entry in self.models.get(provider, {}).items() if entry.auto]
        return [model for _, model in sorted(ranked)]


@functools.cache
def overlay() -> Overlay:
    """Return the overlay that the package ships."""
    import yaml

    text = resources.files("pointsman.config").joinpath("overlay.yaml").read_text("utf-8")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader, and our own file
    seen = data.pop("seen")
    return Overlay(seen, msgspec.convert(data, dict[str, dict[str, Entry]]))
