"""The schema for editors: says yes to every example, no to what the loader refuses, and the manual names each setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from pointsman.config.bounds import Limits
from pointsman.config.explain import settings_at
from pointsman.config.load import load
from pointsman.config.schema import json_schema
from pointsman.core import policy

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "docs" / "configuration.md"
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
SECRETS = dict.fromkeys(("ANTHROPIC_API_KEY", "AZURE_KEY", "DEEPSEEK_API_KEY"), "x") | {
    "HELPDESK_KEY": "0123456789abcdef"
}
EXAMPLES = [file for file in sorted((ROOT / "examples").glob("*.yaml")) if "\ndeployments:" in file.read_text()]
SECTIONS: dict[str, tuple[str | int, ...]] = {
    "providers": ("providers", "x"),
    "deployments": ("deployments", "x"),
    "price": ("deployments", "x", "price"),
    "routes": ("routes", "x"),
    "timeouts": ("routes", "x", "timeouts"),
    "split": ("routes", "x", "split"),
    "objective": ("routes", "x", "objective"),
    "limits` of a route": ("routes", "x", "limits"),
    "sticky": ("routes", "x", "sticky"),
    "degrade": ("routes", "x", "degrade", 0),
    "keys": ("keys", 0),
    "quotas": ("quotas", 0),
    "notify": ("notify", 0),
    "prices": ("prices",),
    "contracts": ("prices", "contracts", 0),
    "exchange": ("prices", "exchange", "x", 0),
    "billing": ("billing",),
    "customers": ("billing", "customers", "x"),
    "issuer": ("billing", "issuer"),
    "markup": ("billing", "markup", 0),
    "discounts": ("billing", "discounts", 0),
    "tiers": ("billing", "discounts", 0, "tiers", 0),
    "limits": ("limits",),
    "server": ("server",),
    "oidc": ("server", "oidc", 0),
    "claims": ("server", "oidc", 0, "claims"),
    "tls": ("server", "tls"),
    "retention": ("server", "retention"),
    "tracing": ("server", "tracing"),
    "log": ("server", "log"),
}
PARTS: dict[
    str, tuple[tuple[str | int, ...], tuple[str | int, ...]]
] = {  # settings of their own, beside those of another
    "windows": (("deployments", "x", "price", "windows", 0), ("deployments", "x", "price")),
    "rules": (("routes", "x", "rules", 0), ("routes", "x")),
    "arms": (("routes", "x", "split", "arms", "x"), ("routes", "x")),
}
_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def fits(value: Any, part: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Return whether a value fits a schema; enough of JSON Schema for ours."""
    if "$ref" in part:
        return fits(value, schema["$defs"][part["$ref"].rpartition("/")[2]], schema)
    for union in ("anyOf", "oneOf"):
        if union in part and not any(fits(value, option, schema) for option in part[union]):
            return False
    kind = part.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return False
    if "enum" in part and value not in part["enum"]:
        return False
    if "pattern" in part and not re.search(part["pattern"], value):
        return False
    if ("minimum" in part and value < part["minimum"]) or ("maximum" in part and value > part["maximum"]):
        return False
    if "exclusiveMinimum" in part and value <= part["exclusiveMinimum"]:
        return False
    if isinstance(value, list) and "items" in part:
        return all(fits(item, part["items"], schema) for item in value)
    if isinstance(value, dict) and kind == "object":
        return _fits_object(value, part, schema)
    return True


def _fits_object(value: dict[str, Any], part: dict[str, Any], schema: dict[str, Any]) -> bool:
    extra, known = part.get("additionalProperties", True), part.get("properties", {})
    inside = [known.get(name, extra) for name in value]
    return set(part.get("required", ())) <= set(value) and all(
        option is True or (option is not False and fits(item, option, schema))
        for item, option in zip(value.values(), inside, strict=True)
    )


def _blocks() -> list[str]:
    pages = (MANUAL, ROOT / "docs" / "policies.md")
    return [text for page in pages for text in BLOCK.findall(page.read_text()) if "deployments:" in text]


@pytest.mark.parametrize("text", [*(file.read_text() for file in EXAMPLES), *_blocks()])
def test_the_schema_says_yes_to_every_example(text: str) -> None:
    schema = json_schema()
    assert fits(yaml.safe_load(text), schema, schema)


def test_the_schema_says_yes_to_a_full_config(full: Path) -> None:
    schema = json_schema()
    assert fits(yaml.safe_load(full.read_text()), schema, schema)


@pytest.mark.parametrize(
    "text",
    [
        "deployments: {a: {provider: openai, contxt: 1}}",
        "deployments: {a: {}}",
        "deployments: {a: {provider: openai, context: 0}}",
        "deployments: {a: {provider: openai, context: many}}",
        "deployments: {a: {provider: openai, price: {input: 1}}}",
        "routes: {}",
        "deployments: {a: {provider: openai}}\nserver: {port: 70000}",
        "deployments: {a: {provider: openai, quality: 2}}",
        *(
            f"deployments: {{a: {{provider: openai}}}}\nroutes: {{r: {{candidates: [a], {setting}}}}}"
            for setting in (
                "sticky: user",
                "sticky: {ttl: soon}",
                "explore: 0.7",
                "objective: {cost: 1, half_ms: 0}",
                "relax: [speed]",
                "objective: {quality: -1}",
                "rules: [{when: 3}]",
                "split: {arms: {x: {use: a}}}",
                "degrade: [{cached: {}}]",
            )
        ),
    ],
)
def test_the_schema_says_no_as_the_loader_does(text: str) -> None:
    schema = json_schema()
    assert not fits(yaml.safe_load(text), schema, schema)


def test_every_setting_has_a_description() -> None:
    for name, part in json_schema()["$defs"].items():
        for setting, inside in part.get("properties", {}).items():
            assert inside.get("description"), (name, setting)


def named_in(section: str) -> list[str]:
    """Return the settings that the manual lists under a heading."""
    heading = section if "`" in section else f"{section}`"
    part = re.search(rf"^##+ `{heading}\n(.*?)(?=^##|\Z)", MANUAL.read_text(), re.DOTALL | re.MULTILINE)
    assert part, f"docs/configuration.md has no part for {section}"
    return sorted(re.findall(r"^\| `([a-z_0-9]+)` \|", part[1], re.MULTILINE))


@pytest.mark.parametrize("section", SECTIONS)
def test_the_manual_names_exactly_the_settings_there_are(section: str) -> None:
    assert named_in(section) == sorted(settings_at(SECTIONS[section]))


@pytest.mark.parametrize("section", PARTS)
def test_the_manual_names_what_a_part_has_beside_the_settings_it_shares(section: str) -> None:
    own, shared = (set(settings_at(place)) for place in PARTS[section])
    assert named_in(section) == sorted(own - shared)


def test_the_manual_has_a_part_for_every_section() -> None:
    assert set(settings_at(())) <= set(SECTIONS)


def test_limits_have_the_names_and_defaults_of_the_core() -> None:
    assert Limits().model_dump() == msgspec.structs.asdict(policy.Limits())


def test_the_manual_gives_the_default_of_every_limit() -> None:
    for name, value in msgspec.structs.asdict(policy.Limits()).items():
        assert f"| `{name}` | {value} |" in MANUAL.read_text(), name


@pytest.mark.parametrize("text", _blocks())
def test_every_example_of_the_manual_loads(text: str, tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "second.key").write_text("sk-canary")
    file = tmp_path / "example.yaml"
    file.write_text(text)
    assert load(file, {**env, **SECRETS}).policy.routes
