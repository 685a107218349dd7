"""The schema of `notify`: who is told of what, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pointsman.config.fields import Duration, Name, SecretText, Section, setting
from pointsman.core.notice import KINDS, QUIET_S, Kind

Address = Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$")]


class Notify(Section):
    """Somewhere to be told of what happens: a webhook, or addresses that get mail."""

    name: Name = Field(description="What errors and the status call it.")
    url: SecretText | None = setting('A webhook that takes JSON by POST: "${SLACK_URL}".')
    format: Literal["json", "slack"] | None = setting(
        "What is posted there. Default: slack at hooks.slack.com, else json."
    )
    email: Annotated[list[Address], Field(min_length=1, max_length=32)] | None = setting("Addresses that get mail.")
    sender: Address | None = setting("What the mail is from. Default: the first address.")
    smtp: SecretText | None = setting('The mail server: "smtps://USER:PASSWORD@HOST", or smtp:// with STARTTLS.')
    kinds: Annotated[list[Kind], Field(min_length=1)] = setting("What to tell of.", list(KINDS))
    quiet: Duration = setting("How long before the same is told again.", QUIET_S)
