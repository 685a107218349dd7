"""Policy: everything one config version says, compiled: providers, deployments, routes, keys, limits. Frozen."""

from __future__ import annotations

from typing import Literal

import msgspec

from pointsman.core.pricing import Price
from pointsman.core.secret import Secret

AuthStyle = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "none"]
Modality = Literal["text", "image", "audio", "file", "video"]


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what differs between servers of one dialect; compiled from a provider's and a deployment's config."""

    model: str  # the upstream model id
    rename: dict[str, str] = {}  # body member -> the server's name for it: max_completion_tokens -> max_tokens
    drop: tuple[str, ...] = ()  # body members the server refuses
    reasoning_field: str = "reasoning_content"  # where an OpenAI-compatible server puts thinking
    stream_usage: bool = True  # whether stream_options.include_usage may be sent
    api_version: str = ""  # anthropic: 2023-06-01 or 2026-10-21
    default_max_output_tokens: int = 8192  # for wires that demand a limit when the client gave none


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
    quota_group: str = ""  # "" = the provider's name; deployments of one account share their 429s
    ca_file: str = ""  # PEM file of extra trust anchors


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


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a name that clients write in `model`. `candidates` are deployment names in the operator's order."""

    name: str
    candidates: tuple[str, ...]
    strategy: str = "priority"
    weights: tuple[float, ...] = ()  # beside candidates; empty = all 1
    attempts: int | None = None  # None = the limits' default
    ttft_ms: int | None = None
    idle_ms: int | None = None
    total_ms: int | None = None
    unpriced: Literal["allow", "deny"] = "allow"
    implicit: bool = False  # made from a deployment, not written by the operator


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a client key by its digest (see `core.keys.digest`); the key itself is nowhere."""

    name: str
    digest: bytes
    project: str = ""
    team: str = ""
    organisation: str = ""
    routes: tuple[str, ...] | None = None  # None = all

    @property
    def who(self) -> tuple[str, str, str, str]:
        return self.name, self.project, self.team, self.organisation


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Hold every bound of the data plane; the defaults are those of FAULTS.md section 6."""

    connect_ms: int = 3_000
    ttft_ms: int = 30_000
    ttft_reasoning_ms: int = 120_000
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
    stream_buffer_bytes: int = 256 * 1024
    reply_bytes: int = 64 * 1024 * 1024
    upstream_idle_per_host: int = 512
    upstream_connections_per_host: int = 4_096
    upstream_max_age_ms: int = 300_000
    journal_segment_bytes: int = 64 * 1024 * 1024
    journal_bytes: int = 1024 * 1024 * 1024
    drain_ms: int = 900_000
    breaker_failures: int = 5
    breaker_success: float = 0.85
    breaker_min_requests: int = 20
    breaker_open_ms: int = 5_000
    breaker_open_max_ms: int = 300_000


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 8080
    admin_port: int = 8081
    workers: int = 1
    tls_cert: str = ""
    tls_key: str = ""
    insecure_open: bool = False  # no keys configured: loopback callers are let in as caller `local`


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all routes of one config version and what they need. `version` is a hash of everything that decides."""

    version: str
    source: str  # file name, or `environment`
    providers: dict[str, Provider]
    deployments: tuple[Deployment, ...]
    routes: dict[str, Route]
    keys: tuple[Key, ...] = ()
    limits: Limits = Limits()
    listener: Listener = Listener()
