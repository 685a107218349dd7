"""Schema: the YAML face of the configuration, one model a mapping; the descriptions are the editors' help."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from pointsman.config.billing_schema import Billing
from pointsman.config.bounds import Count, Limits
from pointsman.config.fields import (
    Label,
    Milliseconds,
    Name,
    Port,
    SecretText,
    Section,
    Share,
    Text,
    Tokens,
    Truth,
    Whole,
    mapping_or,
    number_or,
    setting,
)
from pointsman.config.notify_schema import Notify
from pointsman.config.oidc_schema import Issuer
from pointsman.config.price_schema import Price, Prices
from pointsman.config.quota_schema import Quota
from pointsman.config.route_schema import Route
from pointsman.core.policy import AuthStyle, Modality
from pointsman.core.priority import Priority

ApiVersion = Literal["2023-06-01", "2026-10-21"]
Concurrency = Annotated[
    Annotated[Count, Tag("number")] | Annotated[Literal["auto"], Tag("auto")], Discriminator(number_or("auto"))
]
Category = Literal["chat", "code", "tools", "extraction", "default"]
Quality = Annotated[
    Annotated[Share, Tag("figure")] | Annotated[dict[Category, Share], Field(min_length=1), Tag("mapping")],
    Discriminator(mapping_or("figure")),
]


class Provider(Section):
    """A vendor or server: its wire dialect, address and credential. A known name needs no settings but the key."""

    api_key: SecretText | None = setting(
        'The key: "${NAME}" or {file: path}. Default: the usual environment variable of a known one.'
    )
    like: Name | None = setting("Take the settings and the catalog of this known provider.")
    dialect: Text | None = setting("Wire format: openai, anthropic or gemini.")
    base_url: Text | None = setting("Address up to, not including, the path of the call. https.")
    parameters: dict[str, Text] = setting("Values for the {names} in a known provider's address.", {})
    insecure: Truth = setting("Allow http:// to an address that is not loopback or private.", False)
    auth: AuthStyle | None = setting("How the key is sent. Default: as the dialect does.")
    headers: dict[str, Text] = setting("Headers added to every call. No credentials here.", {})
    path: Text | None = setting("Path of a chat call after base_url; may contain {model}.")
    rename: dict[Text, Text] = setting("Body member -> this server's name for it.", {})
    drop: list[Text] = setting("Body members this server refuses; they are left out.", [])
    reasoning_field: Annotated[str, Field(max_length=128)] | None = setting(
        'Where an OpenAI-compatible server puts its thinking; "": nowhere.'
    )
    stream_usage: Truth | None = setting("Whether the server accepts stream_options.include_usage.")
    api_version: ApiVersion | None = setting("Anthropic: the version header to send.")
    rate_limit_headers: bool = setting("Heed what its replies say is left of our quota there.", True)
    quota_group: Name | None = setting("Providers of one account share a group and its 429s.")
    ca_file: Text | None = setting("PEM file of extra trust anchors; relative to the config file.")
    bills_cancelled: Truth | None = setting(
        "Whether it bills a cancelled answer to the end; it is then read on, to book what it costs."
    )


class Deployment(Section):
    """One callable thing: a model at a provider. What is left out is taken from the catalog."""

    provider: Name = Field(description="A name under `providers`, or a known provider.")
    kind: Literal["chat", "embeddings"] = setting(
        "embeddings: it makes vectors for `semantic`, and is no candidate.", "chat"
    )
    model: Text | None = setting("The provider's id of the model. Default: the deployment's name.")
    price: Price | None = setting("What it costs; replaces the catalog's price as a whole.")
    context: Tokens | None = setting("Context window in tokens, input and output together.")
    max_output: Tokens | None = setting("Most tokens one answer can have.")
    default_max_output: Tokens | None = setting(
        "Sent when a wire demands a limit and the client gave none. Default: 8192, or max_output."
    )
    modalities: Annotated[list[Modality], Field(min_length=1)] | None = setting("What it reads.")
    tools: Truth | None = setting("Whether it takes function tools on the wire used here.")
    json_schema: Truth | None = setting("Whether it takes response_format with a JSON Schema.")
    reasoning: Truth | None = setting("Whether it thinks before it answers (waits longer for it).")
    retires: Text | None = setting("Date it is switched off, YYYY-MM-DD.")
    quality: Quality | None = setting("How good it is, 0 to 1: one figure, or one by task category and a default.")
    region: Text | None = setting("Where it runs; a label.")
    ttft_ms: Milliseconds | None = setting("How long to wait for its first content.")
    whole_ms: Milliseconds | None = setting("How long to wait for an answer that comes in one piece.")
    api_version: ApiVersion | None = setting("Anthropic: the version header for this model.")
    prefill: Literal["last", "prefix", "continue"] | None = setting(
        "How it takes the beginning of an answer to go on from; needed for `continuation`."
    )
    concurrency: Concurrency | None = setting("Most attempts at a time, or auto: found by the time to first token.")


class Key(Section):
    """A key that clients authenticate with."""

    name: Name = Field(description="What usage is booked under.")
    key: SecretText = Field(description='The key, at least 16 characters: "${NAME}" or {file: path}.')
    project: Name | None = setting("Project it belongs to.")
    team: Name | None = setting("Team it belongs to.")
    organisation: Name | None = setting("Organisation it belongs to.")
    tier: Name | None = setting("A label for rules: `caller.tier`.")
    routes: list[Name] | None = setting("Routes it may use. Default: all.")
    concurrency: Count | None = setting("Most requests at a time. Default: limits.key_concurrency.")
    priority: Priority = setting(
        "The highest class its requests may name, and their class if they name none.", "normal"
    )
    tags: Annotated[list[Label], Field(max_length=16)] = setting(
        "Kept with the rows of its requests: `NAME` or `NAME:VALUE`.", []
    )


Days = Annotated[Whole, Field(ge=0, le=36_500)]


class Tls(Section):
    """Certificate of the listener; files relative to the config file."""

    cert: Text = Field(description="PEM file: certificate and chain.")
    key: Text = Field(description="PEM file: private key.")


class Tracing(Section):
    """Where spans go: an OpenTelemetry collector that takes OTLP over HTTP. Needs the extra `otel`."""

    endpoint: Text = Field(description="Its URL, as http://127.0.0.1:4318; without a path: /v1/traces.")
    headers: dict[Name, SecretText] = setting('Headers sent with the spans: "${NAME}" or {file: path}.', {})
    sample: Share = setting("Share of the traces that begin here; of others the caller has decided.", 0.1)
    service: Name = setting("What the spans name as `service.name`.", "pointsman")
    propagate: list[Name] = setting("Providers that are told of the trace by `traceparent`. Default: none.", [])


class Log(Section):
    """What is written to standard error."""

    format: Literal["text", "json"] = setting("Lines for people, or a JSON object a line.", "text")
    level: Literal["info", "warning", "error"] = setting("The least that is written.", "info")
    requests: Literal["none", "errors", "all"] = setting("Requests that get a line when they are booked.", "none")
    sample: Share = setting("Share of those requests; one that failed always gets its line.", 1.0)


Owner = Annotated[str, Field(pattern=r"^(key|project|team|organisation):.{1,128}$")]


class Retention(Section):
    """For how long the ledger keeps what it has; 0: for ever."""

    requests_days: Days = setting("Requests with their attempts and decisions.", 0)
    decisions_days: Days = setting("Decisions, if shorter than requests: `explain` then has no candidates.", 0)
    feedback_days: Days = setting("Feedback.", 0)
    hour_sums_days: Days = setting("Sums by hour, of which the dashboard's pages are made.", 0)
    day_sums_days: Days = setting("Sums by day.", 0)
    notices_days: Days = setting("What was told to whom.", 90)
    after_export: Truth = setting(
        "Delete no request and no feedback before `pointsman ledger export` has written it to every folder it writes to.",
        False,
    )


class StoredBodies(Section):
    """Bounds of what routes with `store_bodies` store."""

    never: Annotated[list[Owner], Field(max_length=256)] = setting(
        "Whose requests are never stored, such as `team:legal`: key, project, team or organisation.", []
    )
    max_bytes: Annotated[Whole, Field(ge=1_048_576, le=1 << 40)] = setting(
        "Bytes kept in all; the oldest go first.", 1024 * 1024 * 1024
    )


class Server(Section):
    """Where the router listens."""

    host: Text = setting("Address to listen on. Beyond loopback it needs `keys`.", "127.0.0.1")
    port: Port = setting("Port of the API. 0: any free one.", 8080)
    admin_port: Port = setting("Port of the admin API, on loopback. 0: any free one.", 8081)
    workers: Annotated[Whole, Field(ge=1, le=256)] = setting("Worker processes, one event loop each.", 1)
    tls: Tls | None = setting("Serve https. Default: http.")
    time_zone: Text = setting("Time zone of the facts time.* and of the windows of quotas; an IANA name.", "UTC")
    counters: SecretText | None = setting(
        'Where quotas are counted: "file:", "memory:", "redis://HOST:PORT/DATABASE" or "postgresql://HOST/DATABASE". Default: '
        "file:."
    )
    counters_lease_ms: Annotated[Whole, Field(ge=0, le=1_000)] = setting(
        "For how long a worker takes room of a busy quota in advance, so as to ask a shared store less often. 0: never.",
        100,
    )
    cache: SecretText | None = setting(
        'Where cached answers are shared: "file:", or "redis://HOST:PORT/DATABASE" between machines. Default: file:.'
    )
    ledger: SecretText | None = setting(
        'Where requests are booked: "file:" or "postgresql://USER:PASSWORD@HOST:PORT/DATABASE". Default: file:.'
    )
    callers: SecretText | None = setting("Where the key store is; as `ledger`.")
    retention: Retention = setting("For how long the ledger keeps what it has.", Retention())
    bodies: StoredBodies = setting("Bounds of stored bodies.", StoredBodies())
    replicas: Annotated[Whole, Field(ge=1, le=1_000)] = setting("Routers that share the counters.", 1)
    rule_headers: Annotated[list[Name], Field(max_length=32)] = setting(
        "Request headers that rules may look at, in lower case; none with a credential.", []
    )
    admin_token: SecretText | None = setting(
        'The token of the admin listener, at least 16 characters: "${NAME}" or {file: path}. Default: POINTSMAN_ADMIN_TOKEN, '
        "or one made at the first start, which `pointsman admin token` shows."
    )
    oidc: Annotated[list[Issuer], Field(max_length=16)] = setting(
        "OpenID Connect: whose tokens are taken beside keys.", []
    )
    tracing: Tracing | None = setting("OpenTelemetry: where spans go. Default: there are none.")
    log: Log = setting("What the router writes to standard error, and how.", Log())
    require_keys: Truth = setting(
        "Let nobody in without a key, also while there is none: keys come from the key store.", False
    )
    allow_unauthenticated: Truth = setting(
        "Listen beyond loopback without `keys`: anyone who reaches the port spends your money.", False
    )


class Config(Section):
    """The configuration of Pointsman, an LLM router."""

    providers: dict[Name, Provider | None] = setting("Vendors and servers, by name.", {})
    deployments: dict[Name, Deployment] = Field(description="Models at providers, by name.")
    routes: dict[Name, Route] = setting("Names that clients may write in `model`.", {})
    keys: Annotated[list[Key], Field(max_length=10_000)] = setting("Client keys.", [])
    quotas: Annotated[list[Quota], Field(max_length=1_000)] = setting("What callers may use: limits and budgets.", [])
    limits: Limits = setting("Bounds of the data plane.", Limits())
    notify: Annotated[list[Notify], Field(max_length=32)] = setting("Who is told of what happens.", [])
    prices: Prices = setting("Contracts, rates of exchange, and where new prices come from.", Prices())
    billing: Billing = setting("Who is billed for what, and how.", Billing())
    server: Server = setting("Where to listen.", Server())


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the file for editors; numbers and truth values may be `${NAME}` too."""
    schema = Config.model_json_schema()
    _allow_environment(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Pointsman configuration"}


_MOVED = {
    "type": "type",
    "minimum": "minimum",
    "exclusiveMinimum": "exclusiveMinimum",
    "gt": "exclusiveMinimum",
    "maximum": "maximum",
    "ge": "minimum",
    "le": "maximum",
}
_REFERENCE = {"type": "string", "pattern": r"\$\{"}


def _allow_environment(part: Any) -> None:
    """Turn each number, integer and boolean of a schema into that or a string with `${`, in place."""
    if isinstance(part, list):
        for item in part:
            _allow_environment(item)
    elif isinstance(part, dict):
        part.pop("title", None) if isinstance(part.get("title"), str) else None
        for item in list(part.values()):
            _allow_environment(item)
        if part.get("type") in ("integer", "number", "boolean"):
            plain = {standard: part.pop(name) for name, standard in _MOVED.items() if name in part}
            part["anyOf"] = [plain, dict(_REFERENCE)]
