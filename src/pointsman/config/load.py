"""Load: a config file becomes a Policy, or every problem in it is told at once."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from pointsman.config.build import Build
from pointsman.config.compile import compile
from pointsman.config.document import Document, parse, read_text
from pointsman.config.environment import expand
from pointsman.config.explain import problems_of, real_path
from pointsman.config.problem import ConfigError, Place, Problem
from pointsman.config.schema import Config
from pointsman.core.policy import Policy


class Loaded(msgspec.Struct, frozen=True):
    """Hold a Policy that may be served, and what the operator should know of it."""

    policy: Policy
    warnings: tuple[Problem, ...] = ()
    price_change_ms: int = 0  # when a price is another by itself (Unix milliseconds); 0: not known


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what does not stand in the file: settings of `server` from the command line, the moment, what is known of prices."""

    server: dict[str, Any] = {}
    today: date | None = None  # its first moment, UTC; None: `now`
    now: datetime | None = None  # None: of the system clock
    cache_dir: Path | None = None  # where resolved prices are kept; None: nowhere
    price_list: Path | None = None  # the list in force, if there is such a file; None: the library's own

    @property
    def moment(self) -> datetime:
        """Return the moment at which prices are those in force."""
        if self.today is not None:
            return datetime.combine(self.today, time(), UTC)
        return self.now or datetime.now(UTC)


DEFAULTS = Options()


def load(path: Path, env: Mapping[str, str], options: Options = DEFAULTS) -> Loaded:
    """Return what a file configures. Raise ConfigError with every problem found, kind `unreadable` if there is no text.

    Relative names in the file stand beside it. `env` is what `${NAME}` and known providers' keys are taken from.
    """
    return load_text(read_text(path), str(path), env, options, beside=path.parent)


def load_text(
    text: str, name: str, env: Mapping[str, str], options: Options = DEFAULTS, *, beside: Path | None = None
) -> Loaded:
    """Return what a YAML text configures, as `load` does. `name` is what problems call it."""
    document = parse(text, name)
    expand(document, env)
    return finish(document, env, options, beside or Path())


def finish(document: Document, env: Mapping[str, str], options: Options, beside: Path) -> Loaded:
    """Return what a Document configures. Raise ConfigError with every problem found."""
    _override(document, options.server)
    build = Build(document, env, beside, options.moment)
    build.problems += document.problems
    config = _validated(build)
    policy = compile(build, config, options.cache_dir, options.price_list) if config is not None else None
    if build.problems or policy is None:
        raise ConfigError(sorted(dict.fromkeys(build.problems), key=lambda found: (found.line, found.column)))
    warnings = sorted(build.warnings, key=lambda found: (found.line, found.column))
    return Loaded(policy, tuple(warnings), build.price_change_ms)


def _override(document: Document, server: Mapping[str, Any]) -> None:
    if server and isinstance(document.data.setdefault("server", {}), dict):
        document.data["server"].update(server)


def _validated(build: Build) -> Config | None:
    """Return the configuration, without its faulty parts when there are some, so that the rest is checked too."""
    data = build.document.data
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        known = {problem.path for problem in build.problems}  # an unset variable is told once
        build.problems += [found for found in problems_of(error, build.document) if found.path not in known]
        faults = [(item["type"], item["loc"]) for item in error.errors(include_input=False, include_url=False)]
    rest = copy.deepcopy(data)
    for kind, loc in faults:
        _cut(rest, real_path(data, loc), kind, build.left_out)
    if build.left_out and isinstance(rest.get("keys"), list):
        rest["keys"] = [key for index, key in enumerate(rest["keys"]) if index not in build.left_out]
    try:
        return Config.model_validate(rest)
    except ValidationError:
        return None


def _cut(data: dict[str, Any], path: Place, kind: str, left_out: set[int]) -> None:
    """Take a fault out of `data`: an unknown setting alone, anything else with the named entry or section around it."""
    if kind == "extra_forbidden":
        with contextlib.suppress(KeyError, IndexError):  # what is around it was cut out before
            holder: Any = data
            for part in path[:-1]:
                holder = holder[part]
            del holder[path[-1]]
    elif len(path) > 1 and path[0] in ("providers", "deployments", "routes"):
        data.get(str(path[0]), {}).pop(path[1], None)
    elif len(path) > 1 and path[0] == "keys" and isinstance(path[1], int):
        left_out.add(path[1])
    elif path:
        data.pop(str(path[0]), None)
