"""Notify: the entries of `notify` as core Channels."""

from __future__ import annotations

from urllib.parse import urlsplit

from pointsman.config.addresses import issuer_url_fault
from pointsman.config.build import Build
from pointsman.config.notify_schema import Notify
from pointsman.config.problem import Place
from pointsman.core.notice import Channel
from pointsman.core.secret import Secret


def compile_channels(build: Build, given: list[Notify]) -> tuple[Channel, ...]:
    """Return the channels; what is wrong with them is noted. No URL is repeated: webhooks hold a secret in their path."""
    names: set[str] = set()
    made = []
    for index, one in enumerate(given):
        at: Place = ("notify", index)
        if one.name in names:
            build.problem((*at, "name"), f"{build.document.shown((*at, 'name'), one.name)} is the name of two.")
        names.add(one.name)
        if (one.url is None) is (one.email is None):
            build.problem(at, "expected either url or email.", "Write two entries for both.")
            continue
        channel = _mail(build, at, one) if one.url is None else _webhook(build, at, one)
        if channel is not None:
            made.append(channel)
    return tuple(made)


def _webhook(build: Build, at: Place, given: Notify) -> Channel | None:
    for setting in ("sender", "smtp"):
        if getattr(given, setting) is not None:
            build.problem((*at, setting), "is for mail.", key=True)
    url = build.secret((*at, "url"), given.url)  # type: ignore[arg-type]
    if url is None:
        return None
    fault, hint = issuer_url_fault(url)
    if fault:
        build.problem((*at, "url"), fault.replace("could let anybody in", "could read it"), hint)
        return None
    slack = urlsplit(url).hostname == "hooks.slack.com"
    return Channel(
        name=given.name,
        format=given.format or ("slack" if slack else "json"),
        url=Secret(url),
        kinds=tuple(given.kinds),
        quiet_s=given.quiet,
    )


def _mail(build: Build, at: Place, given: Notify) -> Channel | None:
    if given.format is not None:
        build.problem((*at, "format"), "is for a webhook.", key=True)
    if given.smtp is None:
        build.problem(at, "has no mail server.", "Set smtp.")
        return None
    url = build.secret((*at, "smtp"), given.smtp)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
        )
    except ValueError:
        good = False
    if not good:
        build.problem((*at, "smtp"), "expected smtp://[USER:PASSWORD@]HOST[:PORT], or smtps://.")
        return None
    to = tuple(given.email or ())
    return Channel(
        name=given.name,
        format="email",
        url=Secret(url),
        kinds=tuple(given.kinds),
        to=to,
        sender=given.sender or to[0],
        quiet_s=given.quiet,
    )
