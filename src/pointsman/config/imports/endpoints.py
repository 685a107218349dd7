"""Endpoints: a plain list of OpenAI-compatible servers becomes a config: one deployment each, one route for each name."""

from __future__ import annotations

import re
from typing import Any

from pointsman.config.addresses import base_url_fault
from pointsman.config.document import MAX_VALUES
from pointsman.config.imports.draft import Draft, Entry, address, flow, fresh, host_of, is_name
from pointsman.config.imports.source import FROM_ENVIRONMENT, Result, Source
from pointsman.config.problem import ConfigError, Place, Problem, short

FIELDS = ("name", "base_url", "model", "key")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HINT = "Write NAME, BASE_URL, MODEL[, KEY_VARIABLE] on each line, or a YAML list of {name, base_url, model, key}."


def from_endpoints(text: str, file: str) -> Result:
    """Return a list of endpoints as a config, with a report. Raise ConfigError when nothing in it can be used.

    Each is a line `NAME, BASE_URL, MODEL[, KEY_VARIABLE]` (`#` begins a comment), or an entry of a YAML list. Endpoints of
    one name share its traffic.
    """
    made, before = _as_yaml(text)
    source = Source(made, file, f"a list of endpoints. {_HINT}", before=before)
    listed = source.data.get("endpoints")
    draft, groups = Draft(), dict[str, list[str]]()
    names = [one.get("name") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    for index, entry in enumerate(listed if isinstance(listed, list) else ()):
        at: Place = ("endpoints", index)
        fault = _fault(entry)
        if fault:
            source.lost(at, f"left out: {fault}")
            continue
        name, alone = entry["name"], names.count(entry["name"]) == 1
        number = len(groups.get(name, ())) + 1
        deployment = name if alone else fresh(f"{name}-{number}", {*draft.deployments, *map(str, names)})
        settings = {"dialect": "openai", **address(entry["base_url"])}
        if entry.get("key"):
            settings["api_key"] = source.variable(_bare(entry["key"]), (*at, "key"), "the key of this endpoint", "key")
        line = source.line(at)
        provider = draft.provider(host_of(entry["base_url"]), settings, line)
        draft.deployments[deployment] = Entry(
            {"provider": provider, "model": entry["model"].replace("${", "$${")}, line
        )
        groups.setdefault(name, []).append(deployment)
        plain = " Its address is http:// and not local: `insecure: true`." if "insecure" in settings else ""
        source.used(at, f"deployment {deployment} at {provider}, in route {name}.{plain}")
    source.rest()
    for name, members in groups.items():
        candidates = members if len(members) == 1 else [{one: 1} for one in members]
        draft.routes[name] = Entry({"candidates": candidates}, draft.deployments[members[0]].line)
    if not groups:
        why = "\n".join(note.says for note in source.notes[:3] if note.says.startswith("left out"))
        raise ConfigError([Problem(file, 1, 1, "", f"no endpoint in it can be used. {why or _HINT}")])
    return Result(draft.text(f"Made from {file}.", file.rpartition("/")[2]), tuple(source.notes), source.variables)


def _as_yaml(text: str) -> tuple[str, int]:
    """Return a YAML mapping with the list in it, each entry on its line, and how many lines were put before."""
    lines = text.splitlines()
    first = next((line.strip() for line in lines if line.strip() and not line.strip().startswith("#")), "")
    if first.startswith(("endpoints:", "{")):
        return text, 0
    if first.startswith(("-", "[")):
        return f"endpoints:\n{'' if first.startswith('-') else ' '}{text}", 1
    return "endpoints:\n" + "\n".join(map(_entry, lines[: MAX_VALUES + 1])), 1


def _entry(line: str) -> str:
    """Return a line of text as an entry of a YAML list; a comment or an empty line stays empty."""
    words = [word for word in re.split(r"[,\s]+", line.partition("#")[0].strip()) if word]
    return f"- {flow(dict(zip((*FIELDS, 'more'), words, strict=False)))}" if words else ""


def _bare(key: str) -> str:
    """Return the variable that a key names: X, ${X} or os.environ/X."""
    return key.removeprefix(FROM_ENVIRONMENT).removeprefix("${").removesuffix("}")


def _fault(entry: Any) -> str:
    """Return why an entry cannot be used; "" when it can."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) and entry[name] for name in FIELDS[:3]):
        return "it needs name, base_url and model, each a text."
    if more := [name for name in entry if name not in FIELDS]:
        return f"it has {short(', '.join(map(str, more)))} as well. {_HINT}"
    if not is_name(entry["name"]):
        return "a name is 1 to 128 of the characters A-Z a-z 0-9 . _ : / @ -"
    key = entry.get("key")
    if key is not None and not (isinstance(key, str) and _VARIABLE.fullmatch(_bare(key))):
        return "its key is no name of a variable; keys themselves do not belong into the list."
    fault, _ = base_url_fault(entry["base_url"], insecure=True)
    return f"its base_url {fault}" if fault else ""
