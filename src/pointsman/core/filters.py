"""Filters: pure tests that remove a candidate, each with a Reason."""

from __future__ import annotations

from enum import StrEnum

from pointsman.core.health import State
from pointsman.core.options import Option, Options
from pointsman.core.request import Features


class Reason(StrEnum):
    """Say why a candidate was not eligible; ELIGIBLE, the empty string, says that it was."""

    ELIGIBLE = ""
    CAPABILITY = "capability"  # it is known not to do what the request needs
    CONTEXT = "context"  # the request does not fit its window
    OUTPUT = "output"  # more output was asked for than it gives
    UNPRICED = "unpriced"  # the route forbids unknown prices
    COOLING = "cooling"  # its quota group answered 429
    EJECTED = "ejected"  # the breaker is open
    PROBING = "probing"  # the breaker is half open and its one probe is under way


HEALTH_REASONS = frozenset({Reason.COOLING, Reason.EJECTED, Reason.PROBING})


def fits_all(options: Options, features: Features) -> bool:
    """Tell whether every candidate of the route passes `static`: the usual case, in four comparisons."""
    wanted = features.output_tokens or 0
    return (
        not features.needs & options.lacks_any
        and features.input_tokens + wanted <= options.least_context_tokens
        and wanted <= options.least_output_tokens
        and (options.all_priced or options.route.unpriced == "allow")
    )


def static(options: Options, option: Option, features: Features) -> Reason:
    """Return the Reason that the candidate's facts give against the request."""
    wanted = features.output_tokens or 0
    if features.needs & option.lacks:
        return Reason.CAPABILITY
    if features.input_tokens + wanted > option.context_tokens:
        return Reason.CONTEXT
    if wanted > option.max_output_tokens:
        return Reason.OUTPUT
    if option.price is None and options.route.unpriced == "deny":
        return Reason.UNPRICED
    return Reason.ELIGIBLE


def health(state: State, now_ms: float) -> Reason:
    """Return the Reason that the deployment's state gives against a send now."""
    if now_ms < state.cool_until_ms:
        return Reason.COOLING
    if now_ms < state.open_until_ms:
        return Reason.EJECTED
    if state.ejections and now_ms < state.probe_until_ms:
        return Reason.PROBING
    return Reason.ELIGIBLE
