"""The commands under `reprice`: what past requests would have cost at other prices, as a reckoning of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data, fail, ledger, print_json, stores_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.control.reckoning import Charges, Timeline
    from pointsman.stores.ledger import Reader
    from pointsman.stores.reckonings import Line, Reckoning

reprice_app = typer.Typer(help="Reckon the past again at other prices.", no_args_is_help=True)
PAGE = 10_000  # charges that are stored at a time
MOST_SHOWN = 200  # lines printed; the JSON has all


@reprice_app.callback()
def _group() -> None:
    """Reckon the past again at other prices."""


@reprice_app.command()
def run(
    since: Annotated[str, typer.Option("--since", help="Requests admitted from then on: 7d, or a date.")] = "30d",
    until: Annotated[str, typer.Option("--until", help="Requests admitted before then. Default: now.")] = "",
    prices: Annotated[Path | None, typer.Option("--prices", help="At the prices of this price list.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="At the prices that this config has at each moment, contracts too.")
    ] = None,
    version: Annotated[str, typer.Option("--version", help="At this price version, its model alone.")] = "",
    actor: Annotated[str, typer.Option("--by", help="Who makes it, for the books.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, and keep nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Data = DATA,
) -> None:
    """Reckon past attempts at other prices, as a new reckoning. No row of the ledger is changed. Without
    --prices, --config or --version: at the prices now in force for each deployment. Exit code 2: it could not be done."""
    import time

    from pointsman.control.reckoning import Wish, reckon, reckoning_of

    now_ms = time.time_ns() // 1_000_000
    since_ms, until_ms = _moment("--since", since, now_ms), _moment("--until", until, now_ms) if until else now_ms
    if since_ms >= until_ms:
        fail("--until is not after --since.", 2)
    if version and (prices or config):
        fail("--version goes without --prices and --config.", 2)
    with ledger(data, 600.0) as reader:
        book, origin = _book(reader, (prices, config, version), (since_ms, until_ms), data)
        wish = Wish(
            since_ms=since_ms, until_ms=until_ms, upto_seq=reader.newest(), origin=origin, actor=actor or _user()
        )
        found = reckon(reader, wish, book)
    made, lines = reckoning_of(found, wish, now_ms), found.lines()
    if not dry_run:
        _keep(data, made, lines, found.charges)
        _note(data, made)
    _tell(made, lines, as_json=as_json, kept=not dry_run)


@reprice_app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False, data: Data = DATA
) -> None:
    """Show the reckonings there are, the newest first."""
    from pointsman.cli.prices import _table
    from pointsman.core.exchange import moment
    from pointsman.core.pricing import usd
    from pointsman.stores.reckonings import reckonings

    with ledger(data) as reader:
        found = reckonings(reader.ask)
    if as_json:
        print_json(found)
        return
    rows = [
        [one.id, moment(one.made_ms // 1000 * 1000), one.origin, usd(one.booked_nano), usd(one.reckoned_nano)]
        for one in found
    ]
    _table(("id", "made", "prices", "booked USD", "reckoned USD"), rows)


@reprice_app.command()
def show(
    id: Annotated[str, typer.Argument(help="Its id, or how it begins.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Data = DATA,
) -> None:
    """Show a reckoning by day and model. Exit code 2: there is none."""
    from pointsman.stores.reckonings import reckoned, reckoning

    with ledger(data) as reader:
        found = reckoning(reader.ask, id)
        lines = reckoned(reader.ask, found.id) if found is not None else []
    if found is None:
        fail(f"No one reckoning has or begins with the id {id}: see `pointsman reprice list`.", 2)
    _tell(found, lines, as_json=as_json, kept=True)


def _book(
    reader: Reader, wished: tuple[Path | None, Path | None, str], span: tuple[int, int], data: Path
) -> tuple[Timeline, str]:
    """Return the prices to reckon with, and what they are called."""
    from pointsman.control.reckoning import Timeline
    from pointsman.stores.price_history import price_of_version, prices_in_force, versions_like

    prices, config, version = wished
    if version:
        names = versions_like(reader.ask, version)
        noted = price_of_version(reader.ask, names[0]) if len(names) == 1 else None
        if noted is None:
            fail(f"--version {version}: {'several begin so' if names else 'no such price version'}.", 2)
        place = f"{noted.provider}/{noted.model}"
        return Timeline([(0, {noted.deployment: noted.price, place: noted.price})]), noted.version
    if config is not None:
        origin = f"{config}" + (f" with {prices}" if prices else "")
        return _of_config(config, _list_of(prices, data), span), origin
    noted_now = prices_in_force(reader.ask)
    if prices is not None:
        return _of_list({one.deployment: one.listed for one in noted_now}, prices, span), str(prices)
    book = {one.deployment: one.price for one in noted_now}
    return Timeline([(0, book | {f"{one.provider}/{one.model}": one.price for one in noted_now})]), "in force"


def _list_of(prices: Path | None, data: Path) -> Path:
    from pointsman.config.price_list import FILE

    if prices is not None and not prices.is_file():
        fail(f"--prices {prices}: no such file.", 2)
    return prices or data / FILE


def _of_config(config: Path, price_list: Path, span: tuple[int, int]) -> Timeline:
    """Return the prices that a config has from moment to moment."""
    from datetime import UTC, datetime

    from pointsman.cli.check import print_error
    from pointsman.config.load import Options, load
    from pointsman.config.problem import ConfigError
    from pointsman.control.reckoning import Timeline
    from pointsman.lab.secrets import MadeUp

    parts: list[tuple[int, dict[str, Any]]] = []
    at_ms, until_ms = span
    while at_ms < until_ms:
        options = Options(now=datetime.fromtimestamp(at_ms / 1000, UTC), price_list=price_list)
        try:
            loaded = load(config, MadeUp(), options)
        except ConfigError as error:
            print_error(error)
            raise typer.Exit(2) from None
        deployments = loaded.policy.deployments
        book = {f"{one.provider}/{one.wire.model}": one.price for one in deployments}
        parts.append((at_ms, book | {one.name: one.price for one in deployments}))
        if loaded.price_change_ms <= at_ms:
            break
        at_ms = loaded.price_change_ms
    return Timeline(parts)


def _of_list(listed: dict[str, str], file: Path, span: tuple[int, int]) -> Timeline:
    """Return the prices of a list from day to day, of the deployments that the ledger knows."""
    from datetime import UTC, datetime, timedelta

    from pointsman.config.price_list import ListError
    from pointsman.config.prices import days_of, price_of
    from pointsman.control.price_refresh import read
    from pointsman.control.reckoning import Timeline

    try:
        providers = read(str(file)).parsed()
    except ListError as error:
        fail(f"{file} {error}.", 2)
    models = {f"{p.id}/{m.id}": (p, m) for p in providers.values() for m in p.models}
    first = datetime.fromtimestamp(span[0] / 1000, UTC).date()
    wanted = {name: models[key] for name, key in listed.items() if key in models}
    days = sorted({first, *(day for _, model in wanted.values() for day in days_of(model, first))})
    last = datetime.fromtimestamp(span[1] / 1000, UTC).date() + timedelta(days=1)
    return Timeline(
        (
            int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000),
            {name: price_of(*found, day, f"{file.name}") for name, found in wanted.items()},
        )
        for day in days
        if day <= last
    )


def _keep(data: Path, made: Reckoning, lines: Sequence[Line], charges: Charges) -> None:
    """Store a reckoning: what requests come to in short transactions before it, so that the router's books do not wait."""
    from itertools import islice

    from pointsman.stores.ledger import LedgerError
    from pointsman.stores.private import PrivateError
    from pointsman.stores.reckonings import keep, keep_charges

    left = iter(charges)
    try:
        writer = stores_of(data).writer()
        try:
            while page := [*islice(left, PAGE)]:
                with writer.changing() as db:
                    keep_charges(db, made.id, page)
            with writer.changing() as db:
                keep(db, made, lines)
        finally:
            writer.close()
    except (LedgerError, PrivateError) as error:
        fail(f"{error}.", 2)


def _note(data: Path, made: Reckoning) -> None:
    from pointsman.cli.store import user
    from pointsman.control import owed

    names = ("actor", "since_ms", "until_ms", "origin", "sha256", "booked_nano", "reckoned_nano", "unpriced")
    told = {name: getattr(made, name) for name in names}
    owed.note(stores_of(data), f"cli: {user()}", "ledger.reprice", made.id, told)


def _tell(made: Reckoning, lines: Sequence[Line], *, as_json: bool, kept: bool) -> None:
    from pointsman.cli.prices import _table
    from pointsman.control.price_watch import signed
    from pointsman.control.reckoning import total
    from pointsman.core.exchange import moment
    from pointsman.core.pricing import usd

    if as_json:
        print_json({"kept": kept, "reckoning": made, "difference_nano": made.difference_nano, "lines": lines})
        return
    rows = [
        [
            one.day,
            f"{one.provider}/{one.model}",
            str(one.sums.attempts),
            usd(one.sums.booked_nano),
            str(one.sums.booked_unpriced),
            usd(one.sums.reckoned_nano),
            str(one.sums.unpriced),
            signed(one.sums.reckoned_nano - one.sums.booked_nano),
        ]
        for one in lines[:MOST_SHOWN]
    ]
    _table(("day", "model", "attempts", "booked", "unpriced", "reckoned", "still", "difference"), rows)
    if len(lines) > MOST_SHOWN:
        typer.echo(f"and {len(lines) - MOST_SHOWN} more; --json has all")
    sums = total(lines)
    typer.echo(
        f"{moment(made.since_ms // 1000 * 1000)} to {moment(made.until_ms // 1000 * 1000)}, prices {made.origin}: booked "
        f"{usd(made.booked_nano)} USD and {made.booked_unpriced} unpriced; reckoned {usd(made.reckoned_nano)} USD and "
        f"{made.unpriced} unpriced; of it {usd(sums.newly_priced_nano)} USD for {sums.newly_priced} that had no price."
    )
    if sums.assumed:
        typer.echo(f"{sums.assumed} were taken for the standard service tier: which one they had is not known.")
    if kept:
        typer.echo(f"Kept as {made.id}; the ledger's rows are as they were.")


def _moment(option: str, text: str, now_ms: int) -> int:
    from pointsman.control.period import since_ms

    try:
        return since_ms(text, now_ms)
    except ValueError as error:
        fail(f"{option} {text}: {error}.", 2)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
