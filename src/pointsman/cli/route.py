"""The command `route`: where a request would go under a config, and why, with nobody called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import DATA, WIDTH, Data, fail, print_json
from pointsman.cli.policytest import policy_of

if TYPE_CHECKING:
    from pointsman.lab.offline import Answered
    from pointsman.lab.situation import Caller, Measured, Word

STATE = "What is so, of a deployment or provider: NAME=down|cooling|probing, or NAME=4000 for its p95 TTFT in ms."


def route(
    config: Annotated[Path, typer.Argument(help="The config file.")],
    model: Annotated[str, typer.Argument(help="What the client writes in `model`: a route or deployment.")],
    prompt: Annotated[str, typer.Argument(help="The user's message.")] = "Hello",
    body: Annotated[
        Path | None, typer.Option("--body", help="A file with the whole request body in JSON, in place of PROMPT.")
    ] = None,
    caller: Annotated[list[str], typer.Option("--caller", help="Who asks: key=..., team=..., tier=...")] = [],  # noqa: B006
    header: Annotated[list[str], typer.Option("--header", help="A request header: NAME=VALUE.")] = [],  # noqa: B006
    state: Annotated[list[str], typer.Option("--state", help=STATE)] = [],  # noqa: B006
    seed: Annotated[float, typer.Option("--seed", min=0, max=1, help="The draw, from 0 to 1.")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Data = DATA,
) -> None:
    """Show where a request would go, and why, without calling anyone. Exit code 0: somebody could answer, 1: nobody."""
    from pointsman.dialects.base import WireError
    from pointsman.lab.offline import Given, Offline
    from pointsman.lab.policytest import body_of
    from pointsman.lab.situation import states_of

    policy = policy_of(config, data)
    try:
        who = _caller(caller)
        states = states_of(policy, {name: _measured(value) for name, value in _pairs(state).items()})
        headers = {name.lower(): value.encode() for name, value in _pairs(header).items()}
        given = Given(states=states, caller=who.to_key(), headers=headers, seed=min(seed, 1.0 - 1e-9))
        asked = {**_read(body), "model": model} if body is not None else {"model": model}
        answered = Offline(policy).decide(body_of(asked, prompt), given)
    except KeyError:
        names = ", ".join(name for name, one in policy.routes.items() if not one.hidden and not one.implicit)
        fail(f'no route or deployment is called "{model}"; routes: {names}', 2)
    except (ValueError, WireError) as error:
        fail(str(error), 2)
    if as_json:
        print_json(answered.told())
    else:
        _show(answered)
    raise typer.Exit(0 if answered.plan.order else 1)


def _caller(texts: list[str]) -> Caller:
    import msgspec

    from pointsman.config.plain import plainly
    from pointsman.lab.situation import Caller

    try:
        return msgspec.convert(_pairs(texts), Caller)
    except msgspec.ValidationError as error:
        path, _ = plainly(error)
        names = ", ".join(Caller.__struct_fields__)
        raise ValueError(f'--caller: "{path[-1]}" is none of {names}') from None


def _pairs(texts: list[str]) -> dict[str, str]:
    """Return NAME=VALUE texts as a dict. Raise ValueError for one without a name or `=`."""
    pairs = {}
    for text in texts:
        name, is_there, value = text.partition("=")
        if not name or not is_there:
            raise ValueError(f'expected NAME=VALUE, got "{text}"')
        pairs[name] = value
    return pairs


def _measured(text: str) -> Word | Measured:
    import msgspec

    from pointsman.lab.situation import Measured, Word

    try:
        ms = float(text)
        if 0.0 < ms < 1e9:
            return Measured(ttft_ms_p95=ms)
    except ValueError:
        pass
    try:
        word: Word = msgspec.convert(text, Word)
        return word
    except msgspec.ValidationError:
        raise ValueError(f'expected down, cooling, probing or milliseconds, got "{text}"') from None


def _read(file: Path) -> dict[str, Any]:
    import msgspec

    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise ValueError(f"{file}: {error}") from None


def _show(answered: Answered) -> None:
    from rich.console import Console

    from pointsman.cli.explain import candidates_table
    from pointsman.control.figures import clean
    from pointsman.core.explain import candidates_of

    told = answered.told()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    for sentence in told["why"]:
        console.print(clean(sentence), markup=False)
    if told["predicted_usd"] is not None:
        console.print(f"Predicted cost: ${told['predicted_usd']:.6f}", markup=False)
    console.print(candidates_table(candidates_of(answered.decision), told["facts"]))
    for kind, names in told["on"].items():
        console.print(f"When an attempt ends in {kind}: {', then '.join(names)}.", markup=False)
    if told["ladder"]:
        console.print(f"When none of them answers: {', then '.join(told['ladder'])}.", markup=False)
