"""The root of the command line: every command under its name, each loading what it needs only when it runs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from pointsman import __version__
from pointsman.cli.admin import admin_app
from pointsman.cli.audit import audit
from pointsman.cli.billing import billing_app
from pointsman.cli.bodies import bodies_app
from pointsman.cli.cache import cache
from pointsman.cli.check import check
from pointsman.cli.config import config_app
from pointsman.cli.explain import explain
from pointsman.cli.import_config import import_app
from pointsman.cli.keys import keys_app
from pointsman.cli.ledger_commands import ledger_app
from pointsman.cli.limits import limits
from pointsman.cli.mock import mock
from pointsman.cli.models import models
from pointsman.cli.notices import notices
from pointsman.cli.policytest import policy_test
from pointsman.cli.prices import prices_app
from pointsman.cli.reconcile import reconcile
from pointsman.cli.report import report
from pointsman.cli.reprice import reprice_app
from pointsman.cli.route import route
from pointsman.cli.serve import serve
from pointsman.cli.status import status
from pointsman.cli.tail import tail
from pointsman.cli.usage import usage

app = typer.Typer(
    name="pointsman",
    help="A self-hosted LLM router: decides which model at which provider answers, carries the call, books the cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its renderer takes a third of the time that help takes
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    serve,
    check,
    route,
    models,
    status,
    limits,
    cache,
    usage,
    report,
    reconcile,
    explain,
    tail,
    mock,
    audit,
    notices,
):
    app.command()(command)
app.command("test")(policy_test)
app.add_typer(keys_app, name="keys")
app.add_typer(admin_app, name="admin")
app.add_typer(billing_app, name="billing")
app.add_typer(bodies_app, name="bodies")
app.add_typer(config_app, name="config")
app.add_typer(import_app, name="import")
app.add_typer(ledger_app, name="ledger")
app.add_typer(prices_app, name="prices")
app.add_typer(reprice_app, name="reprice")


def _version(wanted: bool) -> None:
    if wanted:
        found = find_spec("pointsman.gateway.edge")
        compiled = found is not None and not str(found.origin).endswith(".py")
        typer.echo(f"pointsman {__version__}{' (compiled)' if compiled else ''}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """A self-hosted LLM router: decides which model at which provider answers, carries the call, books the cost."""
