"""The root of the command line: every command under its name, each loading what it needs only when it runs."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

import typer

from pointsman import __version__

COMMANDS = {  # name -> module, and what it has: a command, or a Typer with commands of its own
    "serve": "serve:serve",
    "check": "check:check",
    "route": "route:route",
    "models": "models:models",
    "status": "status:status",
    "limits": "limits:limits",
    "cache": "cache:cache",
    "usage": "usage:usage",
    "report": "report:report",
    "reconcile": "reconcile:reconcile",
    "explain": "explain:explain",
    "tail": "tail:tail",
    "mock": "mock:mock",
    "audit": "audit:audit",
    "notices": "notices:notices",
    "test": "policytest:policy_test",
    "keys": "keys:keys_app",
    "admin": "admin:admin_app",
    "billing": "billing:billing_app",
    "bodies": "bodies:bodies_app",
    "config": "config:config_app",
    "import": "import_config:import_app",
    "ledger": "ledger_commands:ledger_app",
    "prices": "prices:prices_app",
    "reprice": "reprice:reprice_app",
}


def command_line(first: str = "") -> typer.Typer:
    """Return the command line. When its first word is the name of a command, it has no other: to make them all takes longer
    than most commands do."""
    app = typer.Typer(
        name="pointsman",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # its renderer takes a third of the time that help takes
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name in (first,) if first in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(import_module(f"pointsman.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        found = find_spec("pointsman.gateway.edge")
        compiled = found is not None and not str(found.origin).endswith(".py")
        typer.echo(f"pointsman {__version__}{' (compiled)' if compiled else ''}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """A self-hosted LLM router: decides which model at which provider answers, carries the call, books the cost."""
