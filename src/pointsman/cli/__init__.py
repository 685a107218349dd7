"""Commands: one file a command."""


def main() -> None:
    """Run the command line."""
    from pointsman.cli.root import app

    app()
