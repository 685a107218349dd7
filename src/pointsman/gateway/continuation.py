"""Continuation: when a stream that has begun breaks off, another deployment goes on from what was said. Opt-in, declared.

A deployment takes part when its config says how it takes the beginning of an answer (`prefill`). Only text is taken up
again: never a tool call, thinking, JSON of a schema or one of several choices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pointsman.core.outcome import CLASSES, Blame, Outcome, Retry
from pointsman.core.request import NEED_JSON_SCHEMA
from pointsman.dialects.continued import Continued
from pointsman.dialects.edit import with_beginning

if TYPE_CHECKING:
    from pointsman.gateway.exchange import Exchange
    from pointsman.gateway.world import Endpoint, World


def possible(exchange: Exchange) -> bool:
    """Tell whether an answer to the request may be taken up by another deployment at all."""
    features = exchange.request.features
    return features.choices == 1 and not features.needs & NEED_JSON_SCHEMA


def allows(story: Continued, outcome: Outcome) -> bool:
    """Tell whether the end of an attempt lets another go on."""
    row = CLASSES[outcome.kind]
    return story.resumable and row.blame is Blame.PROVIDER and row.retry is Retry.NEXT and bool(story.text.strip())


def usable(world: World, is_usable: Callable[[int], bool], deployment: int) -> bool:
    """Tell whether a deployment may go on with a begun answer."""
    return bool(world.policy.deployments[deployment].wire.prefill) and is_usable(deployment)


def body_of(story: Continued, body: bytes, endpoint: Endpoint) -> bytes:
    """Return the caller's request with the beginning of its answer. Raise WireError when it has no list of messages."""
    text = story.text.rstrip()
    return with_beginning(
        body, text, endpoint.deployment.wire.prefill, endpoint.ruler.output_tokens(len(text.encode()))
    )
