"""The command `models`: what is known of each model, what it costs, and where each of it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data, fail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from pointsman.core.policy import ModelFacts
    from pointsman.core.pricing import Price, Rates

WIDTH = 100  # columns when the output is no terminal
_LETTERS = {"text": "T", "image": "I", "audio": "A", "video": "V", "file": "F"}


def models(
    file: Annotated[Path | None, typer.Argument(help="A config file; without it: the catalog.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every model the price library has as well.")] = False,
    data: Data = DATA,
) -> None:
    """Show models with prices per million tokens, limits, abilities. Exit codes as of `check`."""
    contracts: list[str] = []
    rows = _of_file(file, data, contracts) if file else _of_catalog(data, everything=everything)
    if everything and file:
        rows += _of_catalog(data, everything=True)
    if as_json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return
    _show(rows)
    for line in contracts:
        typer.echo(line)


def _of_file(file: Path, data: Path, contracts: list[str]) -> list[dict[str, Any]]:
    import os

    from pointsman.cli.check import exit_code, print_error
    from pointsman.config.load import Options, load
    from pointsman.config.price_list import FILE
    from pointsman.config.problem import ConfigError

    try:
        policy = load(file, os.environ, Options(price_list=data / FILE)).policy
    except ConfigError as error:
        print_error(error)
        raise typer.Exit(exit_code(error)) from None
    contracts += [one.terms for one in policy.listener.prices.contracts]
    return [
        _row(one.name, one.provider, one.wire.model, one.price, one.facts) | {"quality": one.quality}
        for one in policy.deployments
    ]


def _of_catalog(data: Path, *, everything: bool) -> list[dict[str, Any]]:
    from datetime import UTC, datetime

    from pointsman.config import known, prices
    from pointsman.config.catalog import Wanted, lookup
    from pointsman.config.overlay import overlay
    from pointsman.config.price_list import FILE, ListError

    wanted: list[Wanted] = []
    for one in known.PROVIDERS.values():
        names = list(overlay().models.get(one.name, {}))
        names += [model for model in prices.all_models(one.prices) if model not in names] if everything else []
        wanted += [Wanted(provider=one.name, prices=one.prices, model=model) for model in names]
    try:
        found = lookup(wanted, datetime.now(UTC).date(), None, data / FILE)
    except ListError as error:
        fail(f"{data / FILE} {error}. Put another there, or delete it.", 2)
    rows = [
        _row("", one.provider, one.model, found[one].price, found[one].facts) | {"quality": found[one].quality}
        for one in wanted
    ]
    for row, asked in zip(rows, wanted, strict=True):
        entry = found[asked].entry
        if entry is not None:
            row["overlay"] = {"source": entry.source, **entry.sources, "seen": overlay().seen, "note": entry.note}
    return rows


def _row(name: str, provider: str, model: str, price: Price | None, facts: ModelFacts) -> dict[str, Any]:
    """Return one line as JSON has it. Prices are USD per million tokens as text, exact; null is unknown."""
    import msgspec

    row: dict[str, Any] = {"deployment": name} if name else {}
    row |= {"provider": provider, "model": model, "price": _price(price), **msgspec.to_builtins(facts)}
    return row


def _price(price: Price | None) -> dict[str, Any] | None:
    if price is None:
        return None
    tiers = [{"over_input_tokens": tier.over_input_tokens, **_usd(tier.rates)} for tier in price.tiers]
    variants = {name: _usd(rates) for name, rates in price.variants.items()}
    said = {"source": price.source, "version": price.version, **({"note": price.note} if price.note else {})}
    return {**_usd(price.rates), "tiers": tiers, "variants": variants, **said}


def _usd(rates: Rates) -> dict[str, str]:
    import msgspec

    from pointsman.core.pricing import usd

    figures: dict[str, int | None] = msgspec.structs.asdict(rates)
    return {name: usd(nano, 9) for name, nano in figures.items() if nano is not None and (nano or name != "request")}


def _show(rows: list[dict[str, Any]]) -> None:
    import sys

    from rich.console import Console

    from pointsman.config.overlay import overlay
    from pointsman.config.prices import library_version

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(_table(rows), soft_wrap=False)
    for row in rows:
        if row["price"] and row["price"].get("note"):
            name = row.get("deployment") or f"{row['provider']}/{row['model']}"
            console.print(f"{name}: {row['price']['note']}", soft_wrap=True, markup=False)
    console.print(
        "USD per million tokens; + dearer for long inputs. Reads: Text Image Audio Video File. "
        f"From: price/facts, c config, k contract, o overlay of {overlay().seen}, g genai-prices {library_version()}. "
        "-: unknown; --json has the source of every fact.",
        style="dim",
    )


def _table(rows: Iterable[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("model", overflow="fold", ratio=1)
    for name in ("in", "out", "cached", "ctx", "max"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("reads", "tools", "json", "retires", "from"):
        table.add_column(name, no_wrap=True)
    provider = ""
    for row in rows:
        if row["provider"] != provider and "deployment" not in row:
            provider = row["provider"]
            table.add_section()
            table.add_row(f"[bold]{provider}[/bold]")
        table.add_row(*_cells(row))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    price = row["price"] or {}
    name = row.get("deployment") or f"  {row['model']}"
    long = "+" if price.get("tiers") else ""
    return [
        escape(name),
        price.get("input", "-") + long if price else "-",
        price.get("output", "-") + long if price else "-",
        price.get("cache_read", "-"),
        _count(row["context_tokens"]),
        _count(row["max_output_tokens"]),
        "".join(_LETTERS[one] for one in row["modalities"]) if row["modalities"] else "-",
        _truth(row["tools"]),
        _truth(row["json_schema"]),
        row["retires"] or "-",
        _origin(row["sources"]),
    ]


def _count(tokens: int | None) -> str:
    """Return tokens as a table has room for: 131072 -> 131k, 1050000 -> 1.05M."""
    if tokens is None:
        return "-"
    if tokens < 1_000_000:
        return f"{tokens / 1000:.0f}k" if tokens >= 1000 else str(tokens)
    return f"{tokens / 1_000_000:.2f}".rstrip("0").rstrip(".") + "M"


def _truth(value: bool | None) -> str:
    return "-" if value is None else ("yes" if value else "no")


def _origin(sources: dict[str, str]) -> str:
    source = sources.get("price", "-")
    price = "k" if source.startswith("contract ") else source[0]
    facts = "".join(sorted({source[0] for fact, source in sources.items() if fact not in ("price", "quality")})) or "-"
    return f"{price}/{facts}"
