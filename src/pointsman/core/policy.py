"""Policy: everything one config version says, compiled: providers, deployments, routes, keys, limits. Frozen."""

from __future__ import annotations

from typing import Literal

import msgspec

from pointsman.core.billing import Billing
from pointsman.core.bodies import StoreBounds, Storing
from pointsman.core.contracts import PriceSettings
from pointsman.core.footprint import Signals
from pointsman.core.issuer import Issuer
from pointsman.core.log import LogSettings
from pointsman.core.notice import Channel
from pointsman.core.pricing import Price
from pointsman.core.priority import NORMAL
from pointsman.core.quotas import Quota
from pointsman.core.retention import Retention
from pointsman.core.secret import Secret
from pointsman.core.trace import Tracing

AuthStyle = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "none"]
Modality = Literal["text", "image", "audio", "file", "video"]
Unit = Literal["request", "session", "user", "key"]
Scope = Literal["key", "project", "team", "organisation"]
Pace = Literal["at_once", "recorded"]
FILE_COUNTERS = OWN_FILE = Secret("file:")
Prefill = Literal["", "last", "prefix", "continue"]  # how a server takes the beginning of an answer; "": it does not


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what differs between servers of one dialect; compiled from a provider's and a deployment's config."""

    model: str  # the upstream model id
    rename: dict[str, str] = {}  # body member -> the server's name for it: max_completion_tokens -> max_tokens
    drop: tuple[str, ...] = ()  # body members the server refuses
    reasoning_field: str = "reasoning_content"  # where an OpenAI-compatible server puts thinking
    stream_usage: bool = True  # whether stream_options.include_usage may be sent
    api_version: str = ""  # anthropic: 2023-06-01 or 2026-10-21
    default_max_output_tokens: int = 8192  # for wires that demand a limit when the client gave none
    prefill: Prefill = ""  # see dialects.edit.with_beginning


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a vendor: wire dialect, address, credential. `base_url` has no trailing slash and gets nothing appended
    but the path of the call."""

    name: str
    dialect: str
    base_url: str
    api_key: Secret | None = None
    auth: AuthStyle = "bearer"
    headers: dict[str, str] = {}
    path: str = ""  # path of a chat call; "" = the dialect's own; may contain {model}
    rate_limit_headers: bool = True  # what its replies say is left of our quota is heeded
    quota_group: str = ""  # "" = the provider's name; deployments of one account share their 429s
    ca_file: str = ""  # PEM file of extra trust anchors
    bills_cancelled: bool = False  # it bills a cancelled answer to its end, so that is read to learn what it costs


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what is known of a model. None is `unknown`, which no filter takes for a no. `sources` says where each fact
    came from: config, overlay, genai-prices x.y.z."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    modalities: tuple[Modality, ...] | None = None  # what it reads
    tools: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None
    retires: str | None = None  # ISO date
    sources: dict[str, str] = {}


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one callable thing: provider + upstream model id + region + price + facts."""

    name: str
    provider: str
    wire: Wire
    price: Price | None = None
    facts: ModelFacts = ModelFacts()
    region: str = ""
    ttft_ms: int | None = None  # how long to wait for first content; None = the limits' default
    whole_ms: int | None = None  # the same for an answer in one piece
    quality: dict[str, float] = {}  # task category (core.request.CATEGORIES) or "default" -> 0..1; empty: unknown
    kind: Literal["chat", "embeddings"] = "chat"  # embeddings: it makes vectors of texts, and answers nothing
    concurrency: int | Literal["auto"] | None = (
        None  # most attempts at a time; auto: found by core.gradient; None: no bound
    )
    listed: str = ""  # what the price list calls its model, PROVIDER/MODEL; "": its price is not from there


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one step of a route's `rules`: the first whose condition holds decides which route goes on."""

    when: str  # CEL over the facts of core.facts; "" holds always
    use: str  # a route; what a rule sets by itself is a hidden route of its own
    place: str  # file:line


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one variant of a split. `use` is a route; what an arm sets by itself is a hidden route of its own."""

    name: str
    weight: float
    use: str


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how a route's traffic is divided. The unit is hashed with `salt`, so that it stays in its arm."""

    by: Unit
    salt: str
    arms: tuple[Arm, ...]


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the weights of the `objective` strategy, and the cost and time at which a candidate's score for them is half."""

    quality: float = 0.0
    latency: float = 0.0
    cost: float = 0.0
    half_nano: int = 10_000_000  # nano-dollars a call: 0.01 USD
    half_ms: float = 3_000.0  # to the last token


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a route demands of a candidate. None: no demand. `relax` names the demands to give up, in this order,
    when nobody meets them all (see core.filters.DEMANDS); what still stands then removes the candidates."""

    quality_min: float | None = None
    ttft_ms_p95: float | None = None
    nano_per_request: int | None = None
    nano_per_day: int | None = None  # UTC; of the route as a whole
    relax: tuple[str, ...] = ()


class Sticky(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how a conversation stays with its deployment, whose prompt cache is warm."""

    by: Literal["session", "conversation"]  # conversation: a session if one is named, else the hash of how it begins
    ttl_s: float


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one step down of the degradation ladder. Exactly one of `candidates`, `cached_s`, `reply`, `refuse` is set;
    `max_output_tokens` goes with candidates."""

    name: str  # what the header and the ledger say
    candidates: tuple[str, ...] = ()
    max_output_tokens: int | None = None
    cached_s: float | None = None  # oldest answer of the same caller to the same request that may be given again
    reply: str | None = None
    refuse: bool = False
    retry_after_s: int | None = None  # of a refusal


class Hedge(msgspec.Struct, frozen=True, kw_only=True):
    """Hold when a second attempt joins one that is slow to begin, and for what share of the requests at most."""

    after_ms: float | None = None  # None: the deployment's own 95th percentile of the last minute
    share: float = 0.05


class Semantic(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how a route gives answers again to questions that are similar: whose vectors, how near they must be, and what share
    of the hits may be wrong. `check` of them are asked fresh as well."""

    embeddings: str = "local"  # or the name of a deployment
    threshold: float = 0.92
    wrong_hits: float = 0.01
    check: float = 0.05
    max_entries: int = 500  # of one sharer


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how a route gives whole answers again. `scope` says who shares them; `max_bytes` bounds those of one of these."""

    ttl_s: float
    scope: Scope = "project"
    max_bytes: int = 64 * 1024 * 1024
    pace: Pace = "at_once"
    semantic: Semantic | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a name that clients write in `model`. `candidates` are deployment names in the operator's order."""

    name: str
    candidates: tuple[str, ...]
    strategy: str = "priority"
    fallback: str = "priority"  # of our strategies, the one that ranks when `strategy` is a plug-in and fails
    weights: tuple[float, ...] = ()  # beside candidates; empty = all 1
    attempts: int | None = None  # None = the limits' default
    ttft_ms: int | None = None
    whole_ms: int | None = None  # how long to wait for an answer in one piece
    adaptive: bool = False  # wait for the first content as long as the deployment's own measurements say, if less
    hedge: Hedge | None = None
    continuation: bool = False  # a stream that breaks off may be taken up by another deployment
    idle_ms: int | None = None
    total_ms: int | None = None
    unpriced: Literal["allow", "deny"] = "allow"
    implicit: bool = False  # made from a deployment, not written by the operator
    hidden: str = ""  # the route that this one is a part of: what a rule or an arm sets; clients cannot name it
    rules: tuple[Rule, ...] = ()
    split: Split | None = None
    objective: Objective | None = None
    bounds: Bounds | None = None
    explore: float = 0.0  # share of requests that draw a candidate evenly, so that the others stay measured
    sticky: Sticky | None = None
    degrade: tuple[Rung, ...] = ()
    on: dict[str, tuple[str, ...]] = {}  # end of an attempt (core.outcome.Kind) -> deployments that go on, in order
    on_empty: Literal["next", "pass"] = "next"  # after a whole answer that says nothing
    params: dict[str, bytes] = {}  # body member -> JSON that replaces it
    prompt_prefix: str = ""
    max_output_tokens: int | None = None  # no answer of this route is longer, whatever the client asks for
    tags: tuple[str, ...] = ()
    cache: Cache | None = None
    signals: Signals | None = None  # what is made of how people go on; None: nothing
    bodies: Storing | None = None  # how requests and answers are stored; None: they are not

    @property
    def how(self) -> str:
        """Return how it decides, in a few words for people: `3 rules`, `split in 2`, `cheapest, 4`."""
        rules = f"{len(self.rules)} rule{'s' if len(self.rules) != 1 else ''}" if self.rules else ""
        split = f"split in {len(self.split.arms)}" if self.split else ""
        ranks = f"{self.strategy}, {len(self.candidates)}" if self.candidates and not split else ""
        return ", ".join(part for part in (rules, split, ranks) if part)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a client key by its digest (see `core.keys.digest`); the key itself is nowhere."""

    name: str
    digest: bytes
    project: str = ""
    team: str = ""
    organisation: str = ""
    tier: str = ""  # a label for rules
    routes: tuple[str, ...] | None = None  # None = all
    concurrency: int | None = None  # most requests at a time; None = the limits' default
    rank: int = NORMAL  # of core.priority: the highest class it may name, and the one it has when it names none
    tags: tuple[str, ...] = ()  # kept with the rows of its requests

    @property
    def who(self) -> tuple[str, str, str, str]:
        return self.name, self.project, self.team, self.organisation


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Hold every bound of the data plane; the defaults are those of FAULTS.md section 6."""

    connect_ms: int = 3_000
    ttft_ms: int = 30_000
    ttft_reasoning_ms: int = 120_000
    whole_ms: int = 300_000  # an answer in one piece: nothing of it comes before its last token is there
    idle_ms: int = 60_000
    total_ms: int = 600_000
    write_stall_ms: int = 30_000
    attempts: int = 3
    body_bytes: int = 32 * 1024 * 1024
    header_bytes: int = 32 * 1024
    header_ms: int = 10_000
    body_ms: int = 30_000
    keepalive_ms: int = 75_000
    connections: int = 10_000
    key_concurrency: int = 100
    concurrent_requests: int = 4_000
    waiting_requests: int = 1_000  # of a worker, for room in a quota
    memory_bytes: int = 0  # of a worker; 0: its part of the memory limit of its control group, if there is one
    stream_buffer_bytes: int = 256 * 1024
    reply_bytes: int = 64 * 1024 * 1024
    upstream_idle_per_host: int = 512
    upstream_connections_per_host: int = 4_096
    upstream_max_age_ms: int = 300_000
    journal_segment_bytes: int = 64 * 1024 * 1024
    journal_bytes: int = 1024 * 1024 * 1024
    drain_ms: int = 900_000
    client_drain_ms: int = 30_000  # for the rest of an answer whose client has gone, where it is billed anyway
    stream_keepalive_ms: int = 15_000  # of a stream in which nothing comes: a comment is sent; 0: never
    retry_wait_ms: int = 8_000  # longest wait before a resend, the provider's own wish included
    breaker_failures: int = 5
    breaker_unreachable: int = 3
    breaker_success: float = 0.85
    breaker_min_requests: int = 20
    breaker_open_ms: int = 5_000
    breaker_open_max_ms: int = 300_000
    slow_start_ms: int = 10_000
    dns_ms: int = 2_000


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 8080
    admin_port: int = 8081
    workers: int = 1
    tls_cert: str = ""
    tls_key: str = ""
    time_zone: str = "UTC"  # of the facts time.*
    rule_headers: tuple[str, ...] = ()  # of the fact request.headers, lower-case
    counters: Secret = FILE_COUNTERS  # where quotas are counted; its URL may hold a password
    replicas: int = 1  # routers that share the counters
    counters_lease_ms: int = 100  # for how long a worker may take room of a shared counter in advance; 0: never
    cache: Secret = FILE_COUNTERS  # where the workers share answers; its URL may hold a password
    ledger: Secret = OWN_FILE  # where requests are booked, as a URL
    callers: Secret = OWN_FILE  # where the key store is
    retention: Retention = Retention()  # for how long the ledger keeps what it has
    insecure_open: bool = False  # no keys configured: loopback callers are let in as caller `local`
    admin_token: Secret | None = None  # None: that of the environment or the data folder
    channels: tuple[Channel, ...] = ()  # that are told what happens
    issuers: tuple[Issuer, ...] = ()  # whose tokens are taken beside keys
    prices: PriceSettings = PriceSettings()  # contracts, and where a new price list is; of the control process
    billing: Billing = Billing()  # who is billed for what; of the control process and the commands
    tracing: Tracing | None = None  # where spans go; None: there are none
    log: LogSettings = LogSettings()
    bodies: StoreBounds = StoreBounds()  # of stored requests and answers


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all routes of one config version and what they need. `version` is a hash of everything that decides."""

    version: str
    source: str  # file name, or `environment`
    providers: dict[str, Provider]
    deployments: tuple[Deployment, ...]
    routes: dict[str, Route]
    keys: tuple[Key, ...] = ()
    quotas: tuple[Quota, ...] = ()
    limits: Limits = Limits()
    listener: Listener = Listener()
