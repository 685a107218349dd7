"""Write docs/providers.md from the table of known providers: python tests/docs/provider_table.py"""

from __future__ import annotations

from pathlib import Path

from pointsman.dialects.providers import OLD_LIMIT, PROVIDERS, KnownProvider

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
HEAD = """\
# Known providers

<!-- Written by tests/docs/provider_table.py from src/pointsman/dialects/providers.py; change it there. -->

A provider in this table needs only its key: `groq: {}` under `providers`, or `provider: groq` at a deployment, takes the key
from the usual environment variable. Anything else that speaks one of the three wires needs a few lines of
[config](configuration.md#providers). A part of an address in braces is your own, given under `parameters`.

"Prices" says whether the price library has the provider; other prices come from the overlay or the config
([catalog.md](catalog.md)). Facts that no documentation states are left open.

"""


def rendered() -> str:
    """Return the page."""
    lines = [
        "| name | wire | address | key from | prices | particulars |",
        "| --- | --- | --- | --- | --- | --- |",
        *[_row(PROVIDERS[name]) for name in sorted(PROVIDERS)],
    ]
    return HEAD + f"{len(PROVIDERS)} providers.\n\n" + "\n".join(lines) + "\n"


def _row(known: KnownProvider) -> str:
    keys = ", ".join(f"`{name}`" for name in known.key_env) or "none needed"
    cells = (f"`{known.name}`", known.dialect, known.base_url, keys, "yes" if known.prices else "", _particulars(known))
    return "| " + " | ".join(cells) + " |"


def _particulars(known: KnownProvider) -> str:
    renamed = [f"`{ours}` → `{theirs}`" for ours, theirs in known.rename.items() if OLD_LIMIT.get(ours) != theirs]
    said = [
        f"key in `{known.auth}`" if known.auth not in ("bearer", "none") else "",
        f"sent as {', '.join(renamed)}" if renamed else "",
        f"without {', '.join(f'`{name}`' for name in known.drop)}" if known.drop else "",
        "takes `max_tokens` for the output limit" if OLD_LIMIT.items() <= known.rename.items() else "",
        f"thinking in `{known.reasoning_field}`" if known.reasoning_field not in ("", "reasoning_content") else "",
        "is not asked for usage in streams" if not known.stream_usage else "",
        f"429 per {known.limits_per}" if known.limits_per else "",
        "bills a cancelled stream to its end" if known.cancel_stops_billing is False else "",
    ]
    return "; ".join(part for part in said if part)


if __name__ == "__main__":
    PAGE.write_text(rendered())
