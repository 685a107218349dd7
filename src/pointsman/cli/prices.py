"""The commands under `prices`: what is in force, what was, what a newer price list would change, and putting one in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data, fail, ledger, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.config.price_list import PriceList
    from pointsman.control.price_refresh import Found, Impact
    from pointsman.core.price_change import Change, Figure
    from pointsman.stores.price_history import Noted

MOST_ADDED = 20  # new models that are printed; the JSON has all

prices_app = typer.Typer(help="Prices: in force, of the past, and newer ones.", no_args_is_help=True)


@prices_app.callback()
def _group() -> None:
    """Prices: in force, of the past, and newer ones."""


@prices_app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False, data: Data = DATA
) -> None:
    """Show the price in force of each deployment. Since when and from where, and which price list is in force."""
    from pointsman.core.exchange import moment
    from pointsman.stores.price_history import prices_in_force

    listed = _in_force(data)
    with ledger(data) as reader:
        found = prices_in_force(reader.ask)
    if as_json:
        print_json({"list": _about(listed), "prices": [_row(one) for one in found]})
        return
    rows = [[one.deployment, *_rates(one), moment(one.at_ms), one.version or "unpriced"] for one in found]
    _table(("deployment", "in", "out", "since", "version"), rows)
    for one in found:
        if one.note:
            typer.echo(f"{one.deployment}: {one.note}")
    told = _about(listed)
    held = f", {len(told['held'])} held back" if told["held"] else ""
    stale = f", {len(told['stale'])} stale" if told["stale"] else ""
    typer.echo(f"Price list: {told['origin']}{', put in force ' + told['at'] if told['at'] else ''}{held}{stale}.")


@prices_app.command()
def show(
    version: Annotated[str, typer.Argument(help="A price version, or how its digest begins.")],
    data: Data = DATA,
) -> None:
    """Show one price version with all its rates, as JSON."""
    with ledger(data) as reader:
        print_json(_row(_version(reader, version)))


@prices_app.command()
def history(
    model: Annotated[str, typer.Argument(help="A deployment, a model, or PROVIDER/MODEL of the price list.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    data: Data = DATA,
) -> None:
    """Show which prices were in force for a model, and since when. Exit code 2: none is known."""
    from pointsman.core.exchange import moment
    from pointsman.stores.price_history import price_history

    with ledger(data) as reader:
        found = price_history(reader.ask, model)
    if not found:
        fail(f"No price of {model} was noted: see `pointsman prices list`.", 2)
    if as_json:
        print_json([_row(one) for one in found])
        return
    rows = [[moment(one.at_ms), one.deployment, *_rates(one), one.version or "unpriced"] for one in found]
    _table(("since", "deployment", "in", "out", "version"), rows)


@prices_app.command()
def diff(
    a: Annotated[str, typer.Argument(help="A price version, or a price list: a file, `bundled` or `current`.")],
    b: Annotated[str, typer.Argument(help="The same.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    data: Data = DATA,
) -> None:
    """Show what differs between two price versions, or two price lists. Exit code 0: nothing, 1: something, 2: unknown."""
    from datetime import UTC, datetime

    from pointsman.control.price_refresh import check
    from pointsman.core.price_change import differences

    lists = [_list(data, one) for one in (a, b)]
    if lists[0] is not None and lists[1] is not None:
        changes = check(lists[0], lists[1], datetime.now(UTC), ("all",)).changes
        print_json(changes) if as_json else _changes(changes, {})
        raise typer.Exit(1 if changes else 0)
    if lists[0] is not None or lists[1] is not None:
        fail("A price list and a price version cannot be compared.", 2)
    with ledger(data) as reader:
        figures = differences(_version(reader, a).price, _version(reader, b).price)
    if as_json:
        print_json(figures)
    else:
        _figures(figures)
    raise typer.Exit(1 if figures else 0)


@prices_app.command()
def refresh(
    source: Annotated[
        str, typer.Option("--from", help="A price list: a file, or `bundled` for that of the installed library.")
    ] = "",
    url: Annotated[str, typer.Option("--url", help="An https URL of one, as the operator names it.")] = "",
    write: Annotated[bool, typer.Option("--write", help="Put it in force; without it, it is only shown.")] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", help="Take the price of this model although it is held back; `all`: of each."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Data = DATA,
) -> None:
    """Put a newer price list in force. It is checked, and what it changes is shown, and what that means for the last 30
    days. Exit code 0: all is taken, 1: something is held back, 2: it could not be done."""
    from datetime import UTC, datetime

    from pointsman.config.price_list import ListError
    from pointsman.control.price_refresh import check, put_in_force, read

    if bool(source) is bool(url):
        fail("Expected either --from FILE or --url URL.", 2)
    if url and "://" not in url:
        fail("--url: expected an https:// URL.", 2)
    now, old = datetime.now(UTC), _in_force(data)
    try:
        new = read(source or url)
        found = check(old, new, now, tuple(accept or ()))
    except ListError as error:
        fail(f"The price list {error}.", 2)
    meant = _impacts(data, old, new, now)
    if write:
        try:
            put_in_force(data, found.result)
        except OSError as error:
            fail(f"{data}: {error.strerror}.", 2)
    if as_json:
        print_json({"written": write, "changes": found.changes, "impact": meant, "list": _about(found.result)})
    else:
        _told(found, meant, data, write=write)
    raise typer.Exit(1 if found.held else 0)


def _told(found: Found, meant: dict[str, Impact], data: Path, *, write: bool) -> None:
    _changes(found.changes, meant)
    counts = {kind: sum(one.kind == kind for one in found.taken) for kind in ("changed", "added", "gone")}
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items()) + f", {len(found.held)} held back."
    typer.echo(told)
    if write:
        typer.echo(f"In force: {data / 'prices.json'}. A router on this data folder takes it up within seconds.")
    else:
        typer.echo("Nothing was written: --write puts it in force.")


def _impacts(data: Path, old: PriceList, new: PriceList, now: Any) -> dict[str, Impact]:
    """Return what it means in dollars; nothing where there is no ledger to ask."""
    from pointsman.cli.ledger import stores_of
    from pointsman.control.price_refresh import impacts
    from pointsman.stores.ledger import LedgerError, LedgerMissing

    try:
        with stores_of(data).reader(600.0) as reader:
            return impacts(reader, old, new, now)
    except LedgerMissing:
        return {}
    except LedgerError as error:
        typer.echo(f"What it means in dollars is not known: {error}.", err=True)
        return {}


def _in_force(data: Path) -> PriceList:
    from pointsman.config.price_list import FILE, ListError, in_force

    try:
        return in_force(data / FILE)
    except ListError as error:
        fail(f"{data / FILE} {error}. Put another there, or delete it.", 2)


def _list(data: Path, text: str) -> PriceList | None:
    """Return the price list that a text names; None when it names none."""
    from pointsman.config.price_list import ListError
    from pointsman.control.price_refresh import BUNDLED, read

    if text == "current":
        return _in_force(data)
    if text != BUNDLED and not Path(text).is_file():
        return None
    try:
        return read(text)
    except ListError as error:
        fail(f"{text} {error}.", 2)


def _version(reader: Any, text: str) -> Noted:
    from pointsman.stores.price_history import price_of_version, versions_like

    found = versions_like(reader.ask, text)
    if len(found) != 1:
        fail(f"{text}: {'several price versions begin so' if found else 'no such price version or file'}.", 2)
    noted = price_of_version(reader.ask, found[0])
    if noted is None:
        fail(f"{text}: no such price version.", 2)
    return noted


def _about(found: PriceList) -> dict[str, Any]:
    from pointsman.core.exchange import moment

    at = moment(found.at_ms) if found.at_ms else ""
    return {"origin": found.origin, "at": at, "stale": found.stale, "held": found.held}


def _row(one: Noted) -> dict[str, Any]:
    import msgspec

    return {**msgspec.to_builtins(one), "price": _usd(one)}


def _usd(one: Noted) -> dict[str, str] | None:
    from pointsman.core.price_change import figures_of
    from pointsman.core.pricing import usd

    return None if one.price is None else {name: usd(nano, 9) for name, nano in figures_of(one.price).items()}


def _rates(one: Noted) -> tuple[str, str]:
    from pointsman.core.pricing import usd

    return ("-", "-") if one.price is None else (usd(one.price.rates.input, 9), usd(one.price.rates.output, 9))


def _changes(changes: Iterable[Change], meant: dict[str, Impact]) -> None:
    """Print the changes: first those that mean something for us, then the others; of new models the first few."""
    from pointsman.control.figures import clean
    from pointsman.control.price_watch import line_of

    def weight(one: Change) -> tuple[bool, str]:
        return (one.model not in meant, one.model)

    added = [one for one in changes if one.kind == "added"]
    for one in sorted((one for one in changes if one.kind != "added"), key=weight):
        typer.echo(clean(line_of(one, meant.get(one.model))))
    for one in added[:MOST_ADDED]:
        typer.echo(clean(line_of(one, None)))
    if len(added) > MOST_ADDED:
        typer.echo(f"and {len(added) - MOST_ADDED} more that are new")


def _figures(figures: Iterable[Figure]) -> None:
    from pointsman.control.price_watch import rate

    rows = [
        [one.name, rate(one.old), rate(one.new), "" if one.percent is None else f"{one.percent:+g} %"]
        for one in figures
    ]
    _table(("rate", "a", "b", ""), rows)


def _table(names: Iterable[str], rows: Iterable[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pointsman.cli.ledger import WIDTH
    from pointsman.control.figures import clean

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in ("in", "out", "a", "b", "") else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(clean(cell)) for cell in row])
    console.print(table)
