"""`pointsman mock`: play providers from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def mock(
    file: Annotated[Path, typer.Argument(help="YAML: providers, models, latencies, fault script.")],
    port_file: Annotated[Path | None, typer.Option(help="Write {name: port} as JSON here when ready.")] = None,
    log: Annotated[Path | None, typer.Option(help="Append one JSON line per served request here.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain: serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key of the certificate.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ports as one JSON object.")] = False,
) -> None:
    """Play scripted providers over real sockets until interrupted."""
    import msgspec

    from pointsman.lab.mock.config import MockConfigError, Tls, load_mock_config
    from pointsman.lab.mock.run import run_mock

    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key belong together")

    def ready(ports: dict[str, int]) -> None:
        typer.echo(json.dumps(ports) if as_json else "\n".join(f"{name}\t{port}" for name, port in ports.items()))

    try:
        config = load_mock_config(file)
        if log is not None:
            config = msgspec.structs.replace(config, log_file=str(log))
        if tls_cert is not None and tls_key is not None:
            config = msgspec.structs.replace(config, tls=Tls(str(tls_cert), str(tls_key)))
        run_mock(config, port_file=port_file, ready=ready)
    except (MockConfigError, OSError) as error:
        typer.echo(f"pointsman mock: {error}", err=True)
        raise typer.Exit(2) from error


app_command = mock

if __name__ == "__main__":
    typer.run(mock)
