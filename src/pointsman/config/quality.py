"""Quality: our own table of how good models are (`quality.yaml`), one score a model, with where it was read."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any

import msgspec

_DATE = re.compile(r"-(?:20\d{6}|20\d{2}-\d{2}-\d{2})$")


class Prior(msgspec.Struct, frozen=True):
    """Hold the quality of one model by task category, 0 to 1, and the address of the page it was read on."""

    by_category: dict[str, float]
    source: str


class Table(msgspec.Struct, frozen=True):
    """Hold the file: the ISO date it was last gone through, and model id -> Prior."""

    seen: str
    models: dict[str, Prior]

    def find(self, model: str) -> Prior | None:
        """Return the Prior of an upstream model id, with or without its maker in front and its date behind."""
        name = model.rpartition("/")[2]
        return self.models.get(name) or self.models.get(_DATE.sub("", name))


@functools.cache
def table() -> Table:
    """Return the table that the package ships."""
    import yaml

    text = resources.files("pointsman.config").joinpath("quality.yaml").read_text("utf-8")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader, and our own file
    models = {}
    for model, figures in data["models"].items():
        source = f"{data['pages']}{figures.pop('page', model)}.md"
        models[model] = Prior(msgspec.convert(figures, dict[str, float]), source)
    return Table(data["seen"], models)
