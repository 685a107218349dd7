"""The commands `import ...`: a config of another router, or a list of endpoints, as a config of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.ledger import fail, print_json

if TYPE_CHECKING:
    from pointsman.config.imports.source import Result

import_app = typer.Typer(help="Take over a config of another router, or a list of endpoints.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The file to take over.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write the config there. Default: standard output.")]
Json = Annotated[bool, typer.Option("--json", help="Print config and report as one JSON object.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file of --out if it is there.")]
TITLES = {
    "translated": "translated",
    "no_effect": "without effect here",
    "not_translated": "not translated",
}


@import_app.command("litellm")
def litellm(file: File, out: Out = None, as_json: Json = False, force: Force = False) -> None:
    """Translate the config of a LiteLLM proxy. The report of what was and what was not goes to standard error.

    Exit code 0: there is a config, 1: nothing could be translated, or the result needs mending, 2: a file cannot be used.
    """
    from pointsman.config.imports.litellm import from_litellm

    _import(from_litellm, file, out, as_json=as_json, force=force)


@import_app.command("endpoints")
def endpoints(file: File, out: Out = None, as_json: Json = False, force: Force = False) -> None:
    """Make a config of a list of OpenAI-compatible endpoints. Lines `NAME, BASE_URL, MODEL[, KEY_VARIABLE]`, or YAML.

    Exit codes as of `import litellm`.
    """
    from pointsman.config.imports.endpoints import from_endpoints

    _import(from_endpoints, file, out, as_json=as_json, force=force)


def _import(
    translate: Callable[[str, str], Result], file: Path, out: Path | None, *, as_json: bool, force: bool
) -> None:
    from pointsman.cli.check import exit_code, print_error
    from pointsman.config.document import read_text
    from pointsman.config.imports.proof import proven
    from pointsman.config.problem import ConfigError

    if out is not None and out.exists() and not force:
        fail(f"{out}: is there already; --force replaces it.", 2)
    try:
        result = translate(read_text(file), str(file))
    except ConfigError as error:
        print_error(error, as_json=as_json)
        raise typer.Exit(exit_code(error)) from None
    problems = proven(result, str(out or "result"), (out or file).parent)
    if out is not None:
        _write(out, result.config, force=force)
    if as_json:
        print_json(_told(result, problems))
    else:
        if out is None:
            typer.echo(result.config, nl=False)
        typer.echo("\n".join(_report(result, str(file), problems)), err=True)
    raise typer.Exit(1 if problems else 0)


def _write(out: Path, config: str, *, force: bool) -> None:
    try:
        with out.open("w" if force else "x", encoding="utf-8") as file:
            file.write(config)
    except OSError as error:
        fail(f"{out}: cannot be written: {error.strerror}.", 2)


def _told(result: Result, problems: list[str]) -> dict[str, Any]:
    import msgspec

    report = {kind: [msgspec.structs.asdict(note) for note in result.of(kind)] for kind in TITLES}  # type: ignore[arg-type]
    variables = {name: msgspec.structs.asdict(known) for name, known in result.variables.items()}
    return {"ok": not problems, "config": result.config, **report, "variables": variables, "problems": problems}


def _report(result: Result, file: str, problems: list[str]) -> list[str]:
    """Return the report as lines, what needs a hand last."""
    lines: list[str] = []
    for kind, title in TITLES.items():
        notes = result.of(kind)  # type: ignore[arg-type]
        lines += ["", f"{title} ({len(notes)}):"] if notes else []
        lines += [f"  {file}:{note.line}: {note.path}: {note.says}" for note in notes]
    if result.variables:
        lines += ["", f"variables to set ({len(result.variables)}):"]
        lines += [f"  {name}: {known.says} ({file}:{known.line})" for name, known in result.variables.items()]
    if problems:
        lines += ["", "to be mended by hand:", *(f"  {problem}" for problem in problems)]
    return lines[1:]
