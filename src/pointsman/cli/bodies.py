"""The commands `bodies`: stored requests and answers are shown and deleted; each time a row of the audit log says so."""

from __future__ import annotations

from typing import Annotated

import typer

from pointsman.cli.ledger import DATA, Data, fail, print_json
from pointsman.cli.store import changing

bodies_app = typer.Typer(help="Show and delete stored requests and answers.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="Request id, as `pointsman explain` shows it.")]


@bodies_app.command("show")
def show(id: Id, data: Data = DATA) -> None:
    """Print what is stored of a request as JSON."""
    import msgspec

    from pointsman.stores.bodies import Bodies
    from pointsman.stores.private import PrivateError

    try:
        body = Bodies(data).find(id)
    except (OSError, PrivateError) as error:
        fail(f"{error}.", 2)
    if body is None:
        fail(f"nothing is stored of {id}: its route stores nothing, it was left out, or its time is over.", 1)
    with changing(data) as acting:  # first the row, then the text
        acting.note("bodies.show", id, {})
    print_json(msgspec.to_builtins(body))


@bodies_app.command("delete")
def delete(id: Id, data: Data = DATA) -> None:
    """Delete what is stored of a request."""
    from pointsman.stores.bodies import Bodies
    from pointsman.stores.private import PrivateError

    try:
        count = Bodies(data).delete(lambda body: body.id == id)
    except (OSError, PrivateError) as error:
        fail(f"{error}.", 2)
    if not count:
        fail(f"nothing is stored of {id}.", 1)
    with changing(data) as acting:
        acting.note("bodies.delete", id, {})
    typer.echo(f"Deleted what was stored of {id}.")


@bodies_app.command("purge")
def purge(
    data: Data = DATA,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete all stored requests and answers."""
    from pointsman.stores.bodies import Bodies

    if not yes:
        typer.confirm(f"Delete all stored bodies of {data}?", abort=True)
    try:
        count = Bodies(data).purge()
    except OSError as error:
        fail(f"{error}.", 2)
    with changing(data) as acting:
        acting.note("bodies.purge", "bodies", {"files": count})
    typer.echo(f"Deleted {count} file{'s' if count != 1 else ''}.")
