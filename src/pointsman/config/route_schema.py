"""Route schema: the YAML face of `routes`: candidates, rules, splits, the ladder, objectives and demands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from pointsman.config.fields import (
    Candidate,
    Duration,
    LongDuration,
    Milliseconds,
    Name,
    Number,
    Positive,
    Prose,
    Section,
    Share,
    Text,
    Tokens,
    Truth,
    Usd,
    Whole,
    mapping_or,
    setting,
)
from pointsman.core.bodies import DETECTORS
from pointsman.core.policy import Pace, Scope, Unit

Demand = Literal["ttft_ms_p95", "usd_per_request", "quality_floor", "usd_per_day"]
Ending = Literal[
    "content_filter",
    "context_length",
    "rate_limited",
    "quota_exhausted",
    "overloaded",
    "server_error",
    "timeout",
    "unreachable",
    "empty",
    "silent",
    "unsupported",
]
Detector = Literal["emails", "phones", "cards", "ips"]
Soon = Annotated[Duration, Field(le=3_600)]
Weight = Annotated[Number, Field(ge=0, le=1_000_000)]


class Timeouts(Section):
    """Waits of a route; what is left out is taken from `limits`."""

    ttft_ms: Milliseconds | None = setting("Wait for the first content of a streamed attempt.")
    whole_ms: Milliseconds | None = setting("Wait for an answer of an attempt that comes in one piece.")
    adaptive: Truth | None = setting(
        "Of streams: wait for the first content no longer than four times the measured 95th percentile, while others are left."
    )
    idle_ms: Milliseconds | None = setting("Wait between two pieces of a stream.")
    total_ms: Milliseconds | None = setting("Wait for the whole answer, over all attempts.")


class Objective(Section):
    """What the route aims at: weights of quality, speed and price, which need not sum to anything."""

    quality: Weight = setting("Weight of the quality, 0 to 1.", 0.0)
    latency: Weight = setting("Weight of the time to the last token.", 0.0)
    cost: Weight = setting("Weight of the price of the request.", 0.0)
    half_usd: Positive = setting("The price that scores a half.", 0.01)
    half_ms: Positive = setting("The time in milliseconds that scores a half.", 3_000.0)


class RouteLimits(Section):
    """What the route demands of a candidate for each request."""

    ttft_ms_p95: Positive | None = setting("Most milliseconds to the first token, 95th percentile of the last minute.")
    usd_per_request: Usd | None = setting("Most USD that a request is predicted to cost.")
    usd_per_day: Usd | None = setting("Most USD of the route as a whole in a day, UTC.")


class Sticky(Section):
    """How a conversation stays with its deployment."""

    by: Literal["session", "conversation"] = setting(
        "session: only if one is named; conversation: else by how it begins.", "conversation"
    )
    ttl: Duration = setting("How long after its last request.", 1_800.0)


class Hedge(Section):
    """When a second attempt joins one that is slow to begin."""

    after_ms: Milliseconds | None = setting("After so long. Default: the deployment's own 95th percentile.")
    share: Annotated[Number, Field(gt=0, le=0.05)] = setting("Most hedges, as a share of the requests.", 0.05)


class Semantic(Section):
    """How answers are given again to questions that are similar."""

    embeddings: Text = setting('Whose vectors: "local", or a deployment of kind embeddings.', "local")
    threshold: Annotated[Number, Field(ge=0.5, le=0.99)] | None = setting(
        "Least cosine of two questions. Default: 0.7 with local vectors, else 0.92."
    )
    wrong_hits: Annotated[Number, Field(ge=0.0001, le=0.2)] = setting("Share of the hits that may be wrong.", 0.01)
    check: Share = setting("Share of the hits that is asked fresh too, and compared.", 0.05)
    max_entries: Annotated[Whole, Field(ge=1, le=2_000)] = setting("Questions kept of one sharer.", 500)


class Cache(Section):
    """How whole answers are given again to requests that are alike."""

    ttl: Duration = Field(description="How long an answer is given again.")
    scope: Scope = setting("Who shares answers; keys without it share with none.", "project")
    max_bytes: Annotated[Whole, Field(ge=65_536, le=1 << 40)] = setting(
        "Bytes of answers kept of one such sharer, in memory and on disk.", 64 * 1024 * 1024
    )
    pace: Pace = setting("How a stream is given again: at_once, or with the pauses it had.", "at_once")
    semantic: Semantic | None = setting("Give them to similar questions too.")


class Scores(Section):
    """What a signal says of an answer, from 0, bad, to 1, good; null: it is not made."""

    regeneration: Share | None = setting("The same was asked again.", 0.2)
    reask: Share | None = setting("The next question was alike.", 0.3)
    abandonment: Share | None = setting("The client left before the end.", 0.4)


class Signals(Section):
    """What is made of how people go on after an answer."""

    regenerate_within: Soon = setting("How long after an answer the same question says something of it.", 120.0)
    reask_within: Soon = setting("How long after an answer a question that is alike does.", 120.0)
    abandon_after: Soon = setting("Who leaves a stream sooner than that has not waited.", 5.0)
    likeness: Annotated[Number, Field(ge=0.3, le=1)] = setting("Least share of words that two questions share.", 0.6)
    scores: Scores = setting("What each signal says.", Scores())
    skip_tags: Annotated[list[Name], Field(max_length=32)] = setting("Requests with one of these say nothing.", [])


class Bodies(Section):
    """How requests and answers are stored."""

    ttl: LongDuration = Field(description="How long, at most 90 days.")
    sample: Annotated[Number, Field(gt=0, le=1)] = setting("Share of the requests.", 1.0)
    max_bytes: Annotated[Whole, Field(ge=1_024, le=16 * 1024 * 1024)] = setting(
        "Bytes kept of a request, and of an answer.", 256 * 1024
    )
    redact: Annotated[list[Detector], Field(max_length=8)] = setting(
        "What is taken out first: emails, phones, cards, ips. Default: all.", [*DETECTORS]
    )
    patterns: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=16)] = setting(
        "And what these match.", []
    )


class Cached(Section):
    """An answer that was given before."""

    max_age: Duration = Field(description="How old it may be.")


class Refuse(Section):
    """A refusal with a time to come back."""

    retry_after: Duration = setting("What Retry-After says.", 30.0)


class Rung(Section):
    """One step of the ladder: other candidates, or a smaller answer, or what stands in for an answer."""

    candidates: Annotated[list[Name], Field(min_length=1)] | None = setting("Deployments to try now.")
    max_output: Tokens | None = setting("Most output tokens; without candidates: of the route's own.")
    cached: Cached | None = setting("Give an earlier answer to the same request of the same caller.")
    reply: Prose | None = setting("Answer this text.")
    refuse: Refuse | None = setting("Answer 503 with Retry-After.")


class Settings(Section):
    """What a route says of itself, and what a rule or an arm may say otherwise."""

    candidates: list[Candidate] | None = setting("Deployments, in order; `- name: 3` gives one a weight.")
    strategy: Text | None = setting(
        "How to rank them. Default: objective with an objective, weighted with weights, else priority."
    )
    fallback: Text | None = setting("Which of our strategies ranks when that of a plug-in fails. Default: priority.")
    objective: Objective | None = setting("Weights of quality, latency and cost; the strategy is then `objective`.")
    quality_floor: Share | None = setting("Least quality of a candidate for the task at hand.")
    limits: RouteLimits | None = setting("Most time and money.")
    relax: list[Demand] | None = setting("Demands to give up, in this order, when no candidate meets them all.")
    explore: Annotated[Number, Field(ge=0, le=0.5)] | None = setting("Share of requests that draw a candidate evenly.")
    sticky: StickyWays | None = setting("Keep a conversation with its deployment: session, conversation or a mapping.")
    degrade: Annotated[list[Rung], Field(max_length=16)] | None = setting(
        "The ladder: what to do when none can answer."
    )
    on: dict[Ending, Annotated[list[Name], Field(min_length=1, max_length=32)]] | None = setting(
        "Deployments, or routes whose candidates, that go on when an attempt ended so."
    )
    on_empty: Literal["next", "pass"] | None = setting(
        "After an answer with neither content nor a tool call: next asks another deployment, once. Default: next."
    )
    params: dict[Name, Any] | None = setting("Members of the request's body to set, as JSON.")
    prompt_prefix: Prose | None = setting("Text put before everything else the model is told.")
    max_output: Tokens | None = setting("No answer is longer than so many tokens.")
    tags: Annotated[list[Name], Field(max_length=32)] | None = setting("Labels for the ledger.")
    timeouts: Timeouts | None = setting("Waits of this route.")
    attempts: Annotated[Whole, Field(ge=1, le=5)] | None = setting("Most sends for one request.")
    hedge: HedgeWays | None = setting("Send a second attempt beside one that is slow to begin: p95 or a mapping.")
    continuation: Truth | None = setting("Let another deployment go on with a stream that broke off; needs `prefill`.")
    cache: CacheWays | None = setting("Give whole answers again to requests that are alike: how long, or a mapping.")
    signals: SignalWays | None = setting("Make judgements of how people go on: true or a mapping.")
    store_bodies: Bodies | Literal[False] | None = setting("Store requests and answers.")
    unpriced: Literal["allow", "deny"] | None = setting(
        "Whether deployments without a price may answer. Default: allow."
    )


class Rule(Settings):
    """The first rule whose condition holds decides: with another route, or with settings of its own."""

    when: Annotated[str, Field(max_length=4096)] | None = setting("Condition in CEL over the facts. Default: always.")
    use: Name | None = setting("The route, or deployment, that goes on.")


class Arm(Settings):
    """One variant: another route, or this one with settings of its own."""

    weight: Number = Field(description="Share of the traffic, in proportion to the other arms.")
    use: Name | None = setting("The route, or deployment, that goes on.")


class Split(Section):
    """Divide the traffic over named arms."""

    by: Unit = setting("What stays in its arm.", "request")
    salt: Text | None = setting("Another salt draws the units anew. Default: the route's name.")
    arms: dict[Name, Arm] = Field(description="Variants, by name; two or more.")


class Route(Settings):
    """A name that clients write in `model`, and what decides who answers it."""

    rules: Annotated[list[Rule], Field(min_length=1, max_length=256)] | None = setting(
        "Asked in order before anything else."
    )
    split: Split | None = setting("Divide what no rule took over arms.")


HedgeWays = Annotated[
    Annotated[Literal["p95"], Tag("name")] | Annotated[Hedge, Tag("mapping")],
    Discriminator(mapping_or("name")),
]
CacheWays = Annotated[
    Annotated[Duration, Tag("duration")] | Annotated[Cache, Tag("mapping")],
    Discriminator(mapping_or("duration")),
]
SignalWays = Annotated[
    Annotated[Truth, Tag("truth")] | Annotated[Signals, Tag("mapping")],
    Discriminator(mapping_or("truth")),
]
StickyWays = Annotated[
    Annotated[Literal["session", "conversation"], Tag("name")] | Annotated[Sticky, Tag("mapping")],
    Discriminator(mapping_or("name")),
]
