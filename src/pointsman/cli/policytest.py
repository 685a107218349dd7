"""The command `test`: run the tests of a policy, as a program's tests are run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.ledger import DATA, Data, fail, print_json

if TYPE_CHECKING:
    from pointsman.core.policy import Policy
    from pointsman.lab.policytest import PolicyTests, Result


def policy_test(
    file: Annotated[Path, typer.Argument(help="The file of tests (docs/testing-policies.md).")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The config to test. Default: the one the file names.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Data = DATA,
) -> None:
    """Test a policy without calling anyone. A file has requests, states of the world, and what is expected of the decision.

    Exit code 0: all passed, 1: some failed, 2: a file cannot be used.
    """
    import time

    from pointsman.lab.policytest import run

    tests = _tests(file)
    path = config or (file.parent / tests.config if tests.config else None)
    if path is None:
        fail(f"{file}: says no `config`; name one with --config.", 2)
    policy = policy_of(path, data)
    began_s = time.perf_counter()
    results = list(run(policy, tests))
    took_s = time.perf_counter() - began_s
    failed = sum(bool(result.problems) for result in results)
    if as_json:
        print_json({"ok": not failed, "config": policy.version, "passed": len(results) - failed, "failed": failed,
                    "tests": results})  # fmt: skip
    else:
        for result in results:
            _show(result)
        typer.echo(
            f"{len(results) - failed} passed, {failed} failed in {took_s:.2f} s ({path}, version {policy.version})"
        )
    raise typer.Exit(1 if failed else 0)


def policy_of(path: Path, data: Path = DATA) -> Policy:
    """Return the policy of a config file; tell its problems and end with exit code 2 when it has some.

    Prices are those that `serve` would take now, with the list that is in force in a data folder.
    Secrets that the environment does not have are made up: nobody is called.
    """
    from pointsman.cli.check import print_error
    from pointsman.config.load import Options, load
    from pointsman.config.price_list import FILE
    from pointsman.config.problem import ConfigError
    from pointsman.lab.secrets import MadeUp

    try:
        return load(path, MadeUp(), Options(price_list=data / FILE)).policy
    except ConfigError as error:
        print_error(error)
        raise typer.Exit(2) from None


def _tests(file: Path) -> PolicyTests:
    from pointsman.config.document import parse, read_text
    from pointsman.config.problem import ConfigError
    from pointsman.lab.policytest import read

    try:
        return read(parse(read_text(file), str(file)))
    except ConfigError as error:
        fail("\n".join(map(str, error.problems)), 2)


def _show(result: Result) -> None:
    from pointsman.lab.policytest import standing

    typer.echo(f"{'FAIL' if result.problems else 'ok  '}  {result.name}")
    for problem in result.problems:
        typer.echo(f"      {problem}")
    if result.got is not None:
        typer.echo(f"      {' '.join(result.got['why'])}")
        for candidate in result.got["candidates"]:
            typer.echo(f"        {candidate['deployment']}: {standing(candidate)}")
