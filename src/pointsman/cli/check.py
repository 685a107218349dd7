"""The command `check`: is a config file right, and what does it say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.config.load import Loaded
    from pointsman.config.problem import ConfigError, Problem
    from pointsman.core.policy import Policy

MOST_SHOWN = 100  # problems printed; the JSON has all


def check(
    file: Annotated[Path, typer.Argument(help="The config file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    data: Data = DATA,
) -> None:
    """Check a config file. Exit code 0: valid, 1: invalid, 2: unreadable."""
    import os

    from pointsman.config.load import Options, load
    from pointsman.config.price_list import FILE
    from pointsman.config.problem import ConfigError

    try:
        loaded = load(file, os.environ, Options(price_list=data / FILE))
    except ConfigError as error:
        print_error(error, as_json=as_json)
        raise typer.Exit(exit_code(error)) from None
    failed = strict and bool(loaded.warnings)
    if as_json:
        _print_json(_report(loaded, ok=not failed))
    else:
        _print_lines([f"warning: {warning}" for warning in loaded.warnings])
        _print_lines([""] if loaded.warnings else [])
        _print_lines(_summary(loaded.policy))
    raise typer.Exit(1 if failed else 0)


def exit_code(error: ConfigError) -> int:
    return 2 if error.kind == "unreadable" else 1


def print_error(error: ConfigError, *, as_json: bool = False) -> None:
    """Print every problem of a config, as lines `file:line:column: path: message` or as one JSON object."""
    if as_json:
        _print_json({"ok": False, "kind": error.kind, "problems": _plain(error.problems), "warnings": []})
        return
    shown, rest = error.problems[:MOST_SHOWN], len(error.problems) - MOST_SHOWN
    _print_lines([str(problem) for problem in shown], error=True)
    if rest > 0:
        _print_lines([f"and {rest} more"], error=True)


def _print_lines(lines: Iterable[str], *, error: bool = False) -> None:
    for line in lines:
        typer.echo(line, err=error)


def _print_json(value: Any) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _plain(problems: Iterable[Problem]) -> list[Any]:
    import msgspec

    return [{**msgspec.to_builtins(problem), "text": str(problem)} for problem in problems]


def _report(loaded: Loaded, *, ok: bool) -> dict[str, Any]:
    policy = loaded.policy
    return {
        "ok": ok,
        "problems": [],
        "warnings": _plain(loaded.warnings),
        "version": policy.version,
        "source": policy.source,
        "providers": sorted(policy.providers),
        "deployments": [one.name for one in policy.deployments],
        "unpriced": [one.name for one in policy.deployments if one.price is None],
        "routes": [name for name, route in policy.routes.items() if not (route.implicit or route.hidden)],
        "implicit_routes": [name for name, route in policy.routes.items() if route.implicit],
        "keys": [key.name for key in policy.keys],
    }


def _summary(policy: Policy) -> list[str]:
    listener = policy.listener
    written = [route for route in policy.routes.values() if not (route.implicit or route.hidden)]
    implicit = sum(route.implicit for route in policy.routes.values())
    scheme = "https" if listener.tls_cert else "http"
    workers = f"{listener.workers} worker{'s' if listener.workers != 1 else ''}"
    who = _listed([key.name for key in policy.keys]) if policy.keys else "none: whoever reaches the port may call"
    rows = [
        ("providers", len(policy.providers), _listed(list(policy.providers))),
        ("deployments", len(policy.deployments), _prices(policy)),
        ("routes", len(written), _listed([f"{route.name} ({route.how})" for route in written])),
        ("", "", f"and {implicit} by deployment and provider/model"),
        ("keys", len(policy.keys), who),
        ("listens on", "", f"{scheme}://{listener.host}:{listener.port}, {workers}"),
    ]
    lines = [f"{label:<12}{count!s:>4}  {text}".rstrip() for label, count, text in rows]
    return [f"{policy.source} is valid, version {policy.version}", "", *lines]


def _prices(policy: Policy) -> str:
    sources: dict[str, int] = {}
    for one in policy.deployments:
        source = one.price.source.split(" ")[0] if one.price else "unpriced"
        sources[source] = sources.get(source, 0) + 1
    return ", ".join(
        f"{count} {source}" if source == "unpriced" else f"{count} priced by {source}"
        for source, count in sources.items()
    )


def _listed(names: list[str], most: int = 6) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
