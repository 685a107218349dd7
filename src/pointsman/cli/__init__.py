"""Commands: one file a command."""


def main() -> None:
    """Run the command line."""
    import sys

    from pointsman.cli.root import command_line

    command_line(*sys.argv[1:2])()
