"""The commands `billing ...`: statements, invoices, credit notes, and the export for FinOps tools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data, fail, print_json, stores_of

if TYPE_CHECKING:
    from pointsman.control.billing.biller import Biller
    from pointsman.core.invoice import Document, Kept

billing_app = typer.Typer(help="Statements, invoices, credit notes, FOCUS.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with exact figures.")]
Month = Annotated[str, typer.Option("--period", help="The month, UTC: 2026-11.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="The config with the rules. Default: the one served last from the data folder."),
]
Form = Annotated[str | None, typer.Option("--format", help="Write it as json, csv, html or pdf.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write it there instead of printing it.")]


@billing_app.command("statement")
def statement(
    period: Month,
    customer: Annotated[str | None, typer.Option("--customer", help="Whose. Default: a summary of all.")] = None,
    reckoning: Annotated[
        str,
        typer.Option(
            "--reckoning", help="At the charges of this reckoning, to be looked at: its id, or how it begins."
        ),
    ] = "",
    form: Form = None,
    out: Out = None,
    as_json: Json = False,
    config: Config = None,
    data: Data = DATA,
) -> None:
    """Show what a customer used in a month and what that comes to. Billed or not; without a customer all of them in sum."""
    from pointsman.cli.billing_tables import show_document, show_period

    month = _month(period)
    with _billing(data, config) as biller:
        if customer is None:
            if form is not None or out is not None:
                fail("--format and --out are for one customer: name it with --customer.", 2)
            every = biller.period(month, reckoning=reckoning)
            if as_json:
                print_json({"period": month, "customers": every.stated, "nobody": every.nobody})
            else:
                show_period(month, every)
            return
        found = biller.statement(customer, month, reckoning=reckoning)
        paper = biller.paper(found)
        if form is not None or out is not None:
            _write(paper, form, out, biller.font)
        elif as_json:
            print_json(found)
        else:
            show_document(paper)
            if reckoning:
                typer.echo("At the charges of a reckoning: invoices bill what was booked.")
            typer.echo(f"Billed by {found.invoice}." if found.invoice else "Not billed yet.")


@billing_app.command("issue")
def issue(
    period: Month,
    customer: Annotated[str | None, typer.Option("--customer", help="To whom.")] = None,
    every: Annotated[bool, typer.Option("--all", help="To all who used something and have no invoice yet.")] = False,
    allow_unpriced: Annotated[
        bool, typer.Option("--allow-unpriced", help="Also where requests have no known price: nobody bills them then.")
    ] = False,
    early: Annotated[bool, typer.Option("--early", help="Also while the month has not ended.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, and issue nothing.")] = False,
    as_json: Json = False,
    config: Config = None,
    data: Data = DATA,
) -> None:
    """Issue the invoice of a customer and month, once. It has what was booked of it, and what came late of billed months.
    Exit code 1: one cannot be issued so, 2: the ledger or the config cannot be used."""
    from pointsman.cli.billing_tables import show_document, show_kept
    from pointsman.cli.store import user
    from pointsman.control.billing.biller import Stated
    from pointsman.core.invoice import Refused

    month = _month(period)
    if (customer is None) is not every:
        fail("name one customer with --customer, or --all.", 2)
    made: list[tuple[Kept, bool]] = []
    refused: list[str] = []
    with _billing(data, config) as biller:
        names = biller.open_customers(month) if customer is None else [customer]
        for name in names:
            if dry_run:
                ready = biller.ready(name, month)
                if ready.existing is not None:
                    typer.echo(f"{ready.existing.number} is the invoice of {name} for {month}.")
                else:
                    show_document(biller.paper(Stated(ready.statement, "")))
                continue
            try:
                made.append(
                    biller.issue(
                        name, month, f"cli: {user()}", _now_ms(), allow_unpriced=allow_unpriced, early=early
                    )
                )  # fmt: skip
            except Refused as error:
                refused.append(f"{error}{_hint(str(error))}.")
    if as_json and not dry_run:
        print_json([_told(kept) | {"new": new} for kept, new in made])
    elif made:
        show_kept([kept for kept, _ in made])
        for kept, new in made:
            if not new:
                typer.echo(f"{kept.number} was issued before: nothing was done.")
    elif not refused and not dry_run:
        typer.echo(f"Nobody has anything to be billed for {month}.")
    if refused:
        fail("\n".join(refused), 1)


@billing_app.command("list")
def list_documents(
    customer: Annotated[str, typer.Option("--customer", help="Only of this customer.")] = "",
    period: Annotated[str, typer.Option("--period", help="Only of this month: 2026-11.")] = "",
    as_json: Json = False,
    data: Data = DATA,
) -> None:
    """List the invoices and credit notes, in the order of issue."""
    from pointsman.cli.billing_tables import show_kept

    month = _month(period) if period else ""
    with _billing(data, None, rules=False) as biller:
        found = list(biller.every(customer, month))
    if as_json:
        print_json([_told(one) for one in found])
    elif found:
        show_kept(found)
    else:
        typer.echo("No invoice has been issued.")


@billing_app.command("show")
def show(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Of an invoice or credit note.")],
    form: Form = None,
    out: Out = None,
    as_json: Json = False,
    config: Config = None,
    data: Data = DATA,
) -> None:
    """Show an invoice or credit note as it was issued. Exit code 1: there is none, or it cannot be printed so."""
    from pointsman.cli.billing_tables import show_document
    from pointsman.core.invoice import decoded

    with _billing(data, config, rules=form == "pdf" or bool(out and out.suffix == ".pdf"), lenient=True) as biller:
        kept = biller.document(number)
        document = decoded(kept.document)
        if form is not None or out is not None:
            _write(document, form, out, biller.font)
        elif as_json:
            print_json(document)
        else:
            show_document(document)
            typer.echo(f"sha256 {kept.sha256}")


@billing_app.command("credit")
def credit(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Of the invoice.")],
    line: Annotated[list[int] | None, typer.Option("--line", help="A line to credit; may be repeated.")] = None,
    amount: Annotated[
        str | None, typer.Option("--amount", help="To credit, in the invoice's currency, tax included: 12.50.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Printed on the note.")] = "",
    as_json: Json = False,
    config: Config = None,
    data: Data = DATA,
) -> None:
    """Issue a credit note against an invoice. Of lines, of an amount, or of all that is left of it. Exit code 1: it cannot be
    issued so."""
    from pointsman.cli.billing_tables import show_document
    from pointsman.cli.store import user
    from pointsman.core.invoice import Wish, decoded, nano_of_usd

    try:
        nano = None if amount is None else nano_of_usd(amount)
    except ValueError as error:
        fail(f"--amount {amount}: {error}.", 2)
    with _billing(data, config) as biller:
        kept = biller.credit(number, Wish(tuple(line or ()), nano, reason), f"cli: {user()}", _now_ms())
    if as_json:
        print_json(decoded(kept.document))
    else:
        show_document(decoded(kept.document))


@billing_app.command("rebill")
def rebill(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Of the invoice, lines of which were credited.")],
    allow_unpriced: Annotated[
        bool, typer.Option("--allow-unpriced", help="Also where requests have no known price: nobody bills them then.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, and issue nothing.")] = False,
    as_json: Json = False,
    config: Config = None,
    data: Data = DATA,
) -> None:
    """Bill credited usage of an invoice anew, by the rules of now. Once: of the lines that were credited, or of all once
    nothing is left of it. Exit code 1: it cannot be issued so."""
    from pointsman.cli.billing_tables import show_document
    from pointsman.cli.store import user
    from pointsman.core.invoice import decoded

    with _billing(data, config) as biller:
        if dry_run:
            document: Document = biller.paper_again(biller.again(number))
        else:
            kept = biller.rebill(number, f"cli: {user()}", _now_ms(), allow_unpriced=allow_unpriced)
            document = decoded(kept.document)
    if as_json:
        print_json(document)
    else:
        show_document(document)


@billing_app.command("verify")
def verify(
    head: Annotated[
        str, typer.Option("--head", help="The last hash, noted before: it must still be in the chain.")
    ] = "",
    as_json: Json = False,
    data: Data = DATA,
) -> None:
    """Check that every document is as it was issued. And that none is missing, and that all add up. Exit code 1: not so."""
    with _billing(data, None, rules=False) as biller:
        count, faults, last = biller.verify()
        if head and head not in {one.chain for one in biller.every()}:
            faults.append("the noted hash is not in the chain: documents were written anew, or the end was cut off")
    if as_json:
        print_json({"documents": count, "faults": faults, "head": last})
    else:
        for fault in faults:
            typer.echo(f"{fault}.")
        typer.echo(
            f"{count} documents, {len(faults)} faults." if faults else f"{count} documents hold; head {last or '-'}"
        )
    raise typer.Exit(1 if faults else 0)


@billing_app.command("focus")
def focus(period: Month, out: Out = None, config: Config = None, data: Data = DATA) -> None:
    """Write the charges of a month as CSV in the format FOCUS 1.4. By day, provider, model and cost centre."""
    from pointsman.control.billing.forms import csv_of
    from pointsman.core.focus import COLUMNS

    month = _month(period)
    with _billing(data, config) as biller:
        text = csv_of(COLUMNS, biller.focus(month))
    _put(text, out)


@contextmanager
def _billing(data: Path, config: Path | None, *, rules: bool = True, lenient: bool = False) -> Iterator[Biller]:
    """Give a Biller. What cannot be done is told with exit code 1, what is wrong with ledger or config with 2. `lenient`: no
    rules are as good as some."""
    from pointsman.control.billing.biller import Biller
    from pointsman.core.billing import Billing
    from pointsman.core.invoice import BillingError
    from pointsman.stores.choose import LEDGER_VARIABLE
    from pointsman.stores.ledger import LedgerAway, LedgerError, LedgerMissing
    from pointsman.stores.private import PrivateError

    found = _rules(data, config, lenient=lenient) if rules else Billing()
    try:
        yield Biller(stores_of(data), found)
    except BillingError as error:
        fail(f"{error}{_hint(str(error))}.", 1)
    except LedgerAway as error:
        fail(f"{error}. If it needs a password, set {LEDGER_VARIABLE} to the URL with it, or PGPASSWORD.", 2)
    except LedgerMissing as error:
        fail(f"{error}. Start `pointsman serve` there, or name its folder with --data DIR.", 2)
    except (LedgerError, PrivateError) as error:
        fail(f"{error}.", 2)


def _rules(data: Path, config: Path | None, *, lenient: bool) -> Any:
    import os

    from pointsman.config.billing import rules_of
    from pointsman.config.document import read_text
    from pointsman.config.problem import ConfigError
    from pointsman.core.billing import Billing
    from pointsman.stores.versions import Versions

    try:
        if config is not None:
            return rules_of(read_text(config), str(config), os.environ)
        versions = Versions(data)
        served = versions.entries()[-1:]
        text = versions.text(served[0]["version"]) if served else None
        if text:
            return rules_of(text, f"version {served[0]['version']}", os.environ)
    except ConfigError as error:
        fail(str(error), 2)
    except OSError as error:
        fail(f"{data}: cannot be read: {error.strerror}.", 2)
    if not lenient:
        fail(f"no config was served from {data}, or its text is not kept: name the file with --config FILE.", 2)
    return Billing()


def _hint(said: str) -> str:
    if said.startswith("no price is known"):
        return "; --allow-unpriced issues it"
    return "; --early issues it" if "has not ended" in said else ""


def _write(document: Document, form: str | None, out: Path | None, font: str) -> None:
    from pointsman.control.billing.forms import MEDIA, rendered

    asked = form or (out.suffix.removeprefix(".") if out else "")
    if asked not in MEDIA:
        fail(f"--format {asked or '-'}: expected one of {', '.join(MEDIA)}.", 2)
    _put(rendered(document, asked, font), out)


def _put(data: bytes, out: Path | None) -> None:
    if out is None:
        typer.echo(data, nl=False)
        return
    try:
        out.write_bytes(data)
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror}.", 2)


def _month(text: str) -> str:
    from pointsman.core.invoice import checked_period

    try:
        return checked_period(text)
    except ValueError as error:
        fail(f"--period {text}: {error}.", 2)


def _now_ms() -> int:
    import time

    return time.time_ns() // 1_000_000


def _told(kept: Kept) -> dict[str, Any]:
    from pointsman.control.billing.biller import summary

    return summary(kept)
