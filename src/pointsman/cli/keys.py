"""The commands `keys create`, `list`, `show`, `change`, `rotate`, `revoke` and `expire`: client keys of the key store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, Data, fail, print_json
from pointsman.cli.store import changing, found_key, looking, moment, when

if TYPE_CHECKING:
    from pointsman.control.bodies import KeyReply

keys_app = typer.Typer(help="Client keys: make, list, rotate, revoke.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Which = Annotated[str, typer.Argument(metavar="KEY", help="Its id, or the name that it is booked as.")]
Routes = Annotated[
    list[str] | None, typer.Option("--route", help="A route that it may use; once for each. Default: all.")
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A label; once for each.")]
Priority = Annotated[str | None, typer.Option("--priority", help="Highest class: critical, high, normal or low.")]
Tier = Annotated[str | None, typer.Option("--tier", help="A label for rules: `caller.tier`.")]
Most = Annotated[int | None, typer.Option("--concurrency", help="Most requests at a time.")]
Expires = Annotated[str | None, typer.Option("--expires", help="When it ends: 90d, 12h, or a date (UTC).")]


@keys_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Its name; never used again.")],
    organisation: Annotated[str | None, typer.Option("--organisation", help="With --team and --project.")] = None,
    team: Annotated[str | None, typer.Option("--team", help="Added if it is not there, as the others.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="What it belongs to. Default: nobody.")] = None,
    route: Routes = None,
    tag: Tags = None,
    priority: Priority = None,
    tier: Tier = None,
    concurrency: Most = None,
    expires: Expires = None,
    as_json: Json = False,
    data: Data = DATA,
) -> None:
    """Make a key and print it, this once. Exit code 1: it cannot be made so, 2: the store cannot be used."""
    import msgspec

    from pointsman.stores.callers import Settings

    path = (organisation, team, project)
    if any(path) and not all(path):
        fail("--organisation, --team and --project go together: a key belongs to a project of a team.", 1)
    given = _settings(route, tag, priority, tier, concurrency)
    ends_ms = moment(expires)
    with changing(data) as acting:
        place = acting.project_at([part or "" for part in path]).id if all(path) else ""
        key, text = acting.add_key(name, place, msgspec.structs.replace(Settings(), **given), ends_ms)
    _told_once(key, text, as_json)


@keys_app.command("list")
def list_keys(as_json: Json = False, data: Data = DATA) -> None:
    """List all keys, the oldest first; revoked and expired ones too."""
    from rich.text import Text

    from pointsman.cli.store import table

    with looking(data) as acting:
        found = _all(acting)
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo(f"No keys in {data}. Make one with `pointsman keys create NAME`.")
        return
    rows = [
        [key.booked_as, key.id, key.shown + "…", key.state, when(key.expires_ms), key.last_used or "-", _place(key)]
        for key in found
    ]
    table(
        ["name", "id", "key", "state", "expires", "last used", "project"],
        [[Text(cell) for cell in row] for row in rows],
    )


@keys_app.command("show")
def show(key: Which, as_json: Json = False, data: Data = DATA) -> None:
    """Show what is known of a key. Exit code 1: there is none."""
    with looking(data) as acting:
        _told(found_key(acting, key), as_json)


@keys_app.command("change")
def change(
    key: Which,
    route: Routes = None,
    tag: Tags = None,
    priority: Priority = None,
    tier: Tier = None,
    concurrency: Most = None,
    all_routes: Annotated[bool, typer.Option("--all-routes", help="Let it use all routes.")] = False,
    as_json: Json = False,
    data: Data = DATA,
) -> None:
    """Change settings of a key: those that are given. Exit code 1: there is none, or it cannot be so."""
    given = _settings(route, tag, priority, tier, concurrency) | ({"routes": None} if all_routes else {})
    with changing(data) as acting:
        _told(acting.change_key(found_key(acting, key).id, given), as_json)


@keys_app.command("rotate")
def rotate(
    key: Which,
    grace: Annotated[
        str, typer.Option("--grace", help="How long the old text goes on: 24h, 7d; 0s ends it now.")
    ] = "24h",
    as_json: Json = False,
    data: Data = DATA,
) -> None:
    """Give a key another text and print it, this once. Exit code 1: there is none, or it is revoked."""
    from pointsman.control.period import until_ms

    try:
        grace_ms = until_ms(grace, 0)
    except ValueError as error:
        fail(f"--grace {grace}: {error}.", 1)
    with changing(data) as acting:
        changed, text = acting.rotate_key(found_key(acting, key).id, grace_ms)
    _told_once(changed, text, as_json)


@keys_app.command("revoke")
def revoke(key: Which, as_json: Json = False, data: Data = DATA) -> None:
    """End a key for good: within two seconds no worker takes it. Exit code 1: there is none."""
    with changing(data) as acting:
        _told(acting.revoke_key(found_key(acting, key).id), as_json)


@keys_app.command("expire")
def expire(
    key: Which,
    at: Annotated[str, typer.Argument(help="When: 90d, 12h, a date (UTC), or `never`.")],
    as_json: Json = False,
    data: Data = DATA,
) -> None:
    """Set when a key ends by itself. Exit code 1: there is none, or it is revoked."""
    ends_ms = None if at == "never" else moment(at)
    with changing(data) as acting:
        _told(acting.change_key(found_key(acting, key).id, {"expires_ms": ends_ms}), as_json)


def _settings(
    route: list[str] | None, tag: list[str] | None, priority: str | None, tier: str | None, concurrency: int | None
) -> dict[str, Any]:
    given = {
        "routes": tuple(route) if route else None,
        "tags": tuple(tag) if tag else None,
        "priority": priority,
        "tier": tier,
        "concurrency": concurrency,
    }
    return {name: value for name, value in given.items() if value is not None}


def _all(acting: Any) -> list[KeyReply]:
    from pointsman.cli.store import every

    return [_reply(key) for key in every(acting.keys)]


def _reply(key: Any, **text: str) -> KeyReply:
    import time

    from pointsman.control.bodies import key_reply

    return key_reply(key, time.time_ns() // 1_000_000, **text)


def _place(key: KeyReply) -> str:
    return "/".join(part for part in (key.organisation, key.team, key.project) if part) or "-"


def _told_once(key: Any, text: str, as_json: bool) -> None:
    if as_json:
        print_json(_reply(key, text=text))
        return
    typer.echo(text)
    typer.echo(f"This is the key {key.label} ({key.id}). It is not shown again.", err=True)


def _told(key: Any, as_json: bool) -> None:
    reply = _reply(key)
    if as_json:
        print_json(reply)
        return
    rows = {
        "name": reply.booked_as,
        "id": reply.id,
        "key": reply.shown + "…",
        "state": reply.state,
        "project": _place(reply),
        "routes": "all" if reply.routes is None else ", ".join(reply.routes) or "none",
        "tags": ", ".join(reply.tags) or "-",
        "priority": reply.priority,
        "tier": reply.tier or "-",
        "concurrency": str(reply.concurrency or "limits.key_concurrency"),
        "created": when(reply.created_ms),
        "rotated": when(reply.rotated_ms),
        "expires": when(reply.expires_ms),
        "revoked": when(reply.revoked_ms),
        "last used": reply.last_used or "-",
    }
    for name, value in rows.items():
        typer.echo(f"{name:12}{value}")
