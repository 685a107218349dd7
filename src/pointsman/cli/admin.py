"""The commands `admin token`, `create`, `list` and `revoke`: who may use the admin listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data, fail, print_json
from pointsman.cli.store import changing, every, looking, moment, when

if TYPE_CHECKING:
    from pointsman.control.bodies import AdminKeyReply

admin_app = typer.Typer(help="Who may use the admin listener: the token, and admin keys.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@admin_app.command("token")
def token(data: Data = DATA) -> None:
    """Print the admin token that was made for a data folder. Exit code 2: there is none."""
    from pointsman.stores.private import ADMIN_TOKEN, PrivateError, kept

    try:
        found = kept(data / ADMIN_TOKEN, make=False)
    except PrivateError as error:
        fail(f"{error}.", 2)
    if found is None:
        why = (
            "`pointsman serve` makes one at its first start, unless server.admin_token or POINTSMAN_ADMIN_TOKEN is set"
        )
        fail(f"no admin token was made in {data}: {why}.", 2)
    typer.echo(found)


@admin_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Its name; never used again.")],
    role: Annotated[str, typer.Option("--role", help="admin: may change; viewer: may look.")] = "viewer",
    organisation: Annotated[
        str | None, typer.Option("--organisation", help="The name of the only one that it reaches. Default: all.")
    ] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="When it ends: 90d, 12h, or a date (UTC).")] = None,
    as_json: Json = False,
    data: Data = DATA,
) -> None:
    """Make an admin key and print it, this once. Exit code 1: it cannot be made so, 2: the store cannot be used."""
    ends_ms = moment(expires)
    with changing(data) as acting:
        bound = ""
        if organisation is not None:
            named = lambda page: acting.groups("organisation", page=page)  # noqa: E731
            bound = next((group.id for group in every(named) if group.name == organisation), "")
            if not bound:
                fail(f"{organisation}: there is no such organisation.", 1)
        key, text = acting.add_admin_key(name, role, bound, ends_ms)  # type: ignore[arg-type]  # it says what it takes
    if as_json:
        print_json(_reply(key, text=text))
        return
    typer.echo(text)
    typer.echo(f"This is the admin key {key.name} ({key.id}). It is not shown again.", err=True)


@admin_app.command("list")
def list_keys(as_json: Json = False, data: Data = DATA) -> None:
    """List the admin keys, revoked and expired ones too."""
    from rich.text import Text

    from pointsman.cli.store import table

    with looking(data) as acting:
        found = [_reply(key) for key in every(acting.admin_keys)]
        names = {one.id: one.name for one in every(lambda page: acting.groups("organisation", page=page))}
    if as_json:
        print_json(found)
        return
    rows = [
        [
            key.name,
            key.id,
            key.shown + "…",
            key.role,
            names.get(key.organisation or "", "all"),
            key.state,
            when(key.expires_ms),
        ]
        for key in found
    ]
    table(
        ["name", "id", "key", "role", "organisation", "state", "expires"],
        [[Text(cell) for cell in row] for row in rows],
    )


@admin_app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id or name.")], as_json: Json = False, data: Data = DATA
) -> None:
    """End an admin key for good, at once. Exit code 1: there is none."""
    with looking(data) as acting:
        id = next((one.id for one in every(acting.admin_keys) if key in (one.id, one.name)), "")
        ended = acting.revoke_admin_key(id)
    if as_json:
        print_json(_reply(ended))
        return
    typer.echo(f"The admin key {ended.name} ({ended.id}) is revoked.")


def _reply(key: Any, **text: str) -> AdminKeyReply:
    import time

    from pointsman.control.bodies import admin_key_reply

    return admin_key_reply(key, time.time_ns() // 1_000_000, **text)
