"""World: one config version as the data plane uses it: routes, endpoints, keys, all prebuilt. Swapped as one reference."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from pointsman import __version__
from pointsman.config.expressions import ruleset
from pointsman.core.chat import ChatRequest
from pointsman.core.options import Options, options_of
from pointsman.core.policy import Deployment, Key, Limits, Policy, Provider, Semantic
from pointsman.core.resolve import Trail
from pointsman.dialects.base import AUTH_STYLES, Dialect, auth_header
from pointsman.dialects.openai.embeddings import PATH as EMBEDDINGS
from pointsman.dialects.openai.embeddings import encode_embedding
from pointsman.dialects.registry import DIALECTS
from pointsman.dialects.relay_request import Head, read_head, splice, spliced_model
from pointsman.gateway.headers import wanted_of
from pointsman.gateway.loads import Load
from pointsman.gateway.local import is_loopback
from pointsman.gateway.resolver import Resolver
from pointsman.gateway.ruler import Ruler
from pointsman.gateway.upstream import Origin
from pointsman.strategies.guard import GUARDS
from pointsman.strategies.plugins import strategies_of

CALLER_DIALECT = DIALECTS["openai"]  # the wire that clients speak to us
_KEY_HEADERS = frozenset(header for header, _ in AUTH_STYLES.values())
PASSED_HEADERS = ("openai-beta",)  # of the client, when the wires are the same
LOCAL = Key(name="local", digest=b"")  # who a loopback caller is while no keys are configured
DAY_FACTS = frozenset({"budget.day_usd", "budget.day_used"})
OriginKey = tuple[str, str, int, str]  # scheme, host, port, CA file
Place = tuple[object, ...]  # what makes a deployment the same in two Worlds


class Endpoint:
    """One deployment, ready to be called: its Origin and the head of its requests, up to the request id."""

    def __init__(self, deployment: Deployment, provider: Provider, origin: Origin) -> None:
        self.deployment = deployment
        self.provider = provider
        self.origin = origin
        self.dialect: Dialect = DIALECTS[provider.dialect]
        self.relays = provider.dialect == "openai"
        self.traced = False  # it is told of traces
        self.ruler = Ruler()
        self.load: Load | None = None  # where it takes only so many attempts at a time
        # Its name, whom it calls and as whom: what was measured of another server or account says nothing of this one.
        called = (provider.dialect, provider.base_url, provider.path, provider.auth, provider.api_key, provider.ca_file)
        self.place: Place = (deployment.name, deployment.wire.model, *called, *sorted(provider.headers.items()))
        self._model = spliced_model(deployment.wire)
        self._heads = (self._head(stream=False), self._head(stream=True))

    def relay(self, body: bytes, head: Head, request_id: str, headers: dict[str, bytes]) -> bytes:
        """Return the whole HTTP request when the wires are the same: the caller's bytes but for what routing changes."""
        data = splice(body, head, self.deployment.wire, self._model)
        lines = request_id.encode()
        for name in PASSED_HEADERS:
            if name in headers:
                lines += b"\r\n%b: %b" % (name.encode(), headers[name])
        return b"".join((self._heads[head.stream is True], lines, b"\r\ncontent-length: %d\r\n\r\n" % len(data), data))

    def translate(self, chat: ChatRequest, request_id: str) -> bytes:
        """Return the whole HTTP request when the wires differ. Raise WireError when it cannot be said in this one."""
        data = self.dialect.encode_request(chat, self.deployment.wire)
        return b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (
            self._heads[chat.stream],
            request_id.encode(),
            len(data),
            data,
        )

    def edited(self, body: bytes, request_id: str, headers: dict[str, bytes]) -> bytes:
        """Return the whole HTTP request of a body that the route has changed. Raise WireError as `translate` does."""
        if self.relays:
            return self.relay(body, read_head(body), request_id, headers)
        return self.translate(CALLER_DIALECT.decode_request(body), request_id)

    def embedding(self, text: str, request_id: str) -> bytes:
        """Return the whole HTTP request for the vector of a text."""
        data = encode_embedding(self.deployment.wire, text)
        return b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (self._heads[0], request_id.encode(), len(data), data)

    def _head(self, *, stream: bool) -> bytes:
        provider, wire = self.provider, self.deployment.wire
        url = urlsplit(provider.base_url)
        end = EMBEDDINGS if self.deployment.kind == "embeddings" else self.dialect.path(wire, stream=stream)
        path = url.path.rstrip("/") + (provider.path.format(model=wire.model) or end)
        headers = {
            "host": url.netloc,
            "user-agent": f"pointsman/{__version__}",
            "accept": "text/event-stream" if stream else "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
        }
        # What the dialect always sends (a version), then the key as this provider wants it, then the operator's own.
        headers |= {k: v for k, v in self.dialect.auth_headers("", wire).items() if k not in _KEY_HEADERS}
        if provider.api_key is not None:
            headers |= auth_header(provider.api_key.reveal(), provider.auth)
        headers |= {k.lower(): v for k, v in provider.headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {path} HTTP/1.1\r\n{lines}x-request-id: ".encode("latin-1")


class World:
    """Everything one config version says, compiled for the hot path. Never changed after it is built."""

    __deletable__ = ("_before",)  # said to mypyc

    def __init__(self, policy: Policy, clock: Callable[[], float], before: World | None = None) -> None:
        self.policy = policy
        self.version = policy.version
        self.limits: Limits = policy.limits
        self.origins: dict[OriginKey, Origin] = {}
        self.trusts: dict[str, ssl.SSLContext] = {}  # by CA file
        self.resolver: Resolver = Resolver(clock) if before is None else before.resolver
        self._before = before
        self.endpoints = tuple(self._endpoint(d, clock) for d in policy.deployments)
        del self._before  # Worlds must not hold each other
        GUARDS.enforced = True  # requests wait for each other here
        self.options: dict[str, Options] = options_of(policy, strategies_of(policy), ruleset)
        self.tracing = policy.listener.tracing
        self.open = policy.listener.insecure_open
        self.local_only = self.open and is_loopback(policy.listener.host)
        self.wanted = wanted_of(policy.listener.rule_headers, local_only=self.local_only)
        self.named = {name: one for name, one in self.options.items() if not one.route.hidden}  # what clients may write
        self.names = tuple(d.name for d in policy.deployments)
        self.tracked = frozenset(
            one.label
            for one in self.options.values()
            if (one.bounds is not None and one.bounds.nano_per_day is not None) or one.facts & DAY_FACTS
        )
        self._own_headers: dict[tuple[object, ...], str] = {}
        self._first_headers = {
            name: [self._made_headers(options, p, 1) for p in range(len(options.options))]
            for name, options in self.options.items()
        }

    def endpoint_of(self, name: str) -> Endpoint | None:
        """Return the Endpoint of the deployment with this name."""
        return next((one for one in self.endpoints if one.deployment.name == name), None)

    def semantic_of(self, label: str) -> Semantic | None:
        """Return how the route with this label compares questions; None when it does not."""
        found = [one.cache.settings.semantic for one in self.options.values() if one.cache and one.cache.label == label]
        return next(filter(None, found), None)

    def routed_headers(self, trail: Trail, position: int, attempts: int) -> str:
        """Return what `own_headers` does for a request that came here by rules or a split: the way and the arm are told."""
        if not trail.path:
            return self.own_headers(trail.options, position, attempts)
        return self._made_headers(trail.options, position, attempts, trail)

    def own_headers(self, options: Options, position: int, attempts: int) -> str:
        """Return the response headers that are the same for every answer of this candidate after so many attempts;
        `position` -1: no candidate could be tried."""
        if attempts == 1 and position >= 0:
            return self._first_headers[options.route.name][position]
        return self._made_headers(options, position, attempts)

    def _made_headers(self, options: Options, position: int, attempts: int, trail: Trail | None = None) -> str:
        path, arm = ((), "") if trail is None else (trail.path, trail.arm)
        key = (options.route.name, position, attempts, *path)
        known = self._own_headers.get(key)
        if known is None:
            values = {"route": options.label, "config": self.version, "cache": "off", "degraded": "no"}
            values["reason"] = "nobody"
            if position >= 0:
                option = options.options[position]
                values |= {"deployment": option.name, "model": self.policy.deployments[option.deployment].wire.model}
                values["reason"] = option.reason if attempts <= 1 else f"failover:{option.name}"
                values["degraded"] = option.rung or "no"
            if path:
                values["reason"] = f"{', '.join(path)}, {values['reason']}"
            if arm:
                values["arm"] = arm
            values["attempts"] = str(attempts)
            known = "".join(f"x-pointsman-{k}: {v}\r\n" for k, v in values.items())
            known = self._own_headers[key] = known.encode("latin-1", "replace").decode("latin-1")
        return known

    def _endpoint(self, deployment: Deployment, clock: Callable[[], float]) -> Endpoint:
        provider = self.policy.providers[deployment.provider]
        url = urlsplit(provider.base_url)
        secure = url.scheme == "https"
        port = url.port or (443 if secure else 80)
        place = (url.scheme, url.hostname or "", port, provider.ca_file)
        if place not in self.origins:
            context = self._context(provider.ca_file) if secure else None
            known = None if self._before is None else self._before.origins.get(place)
            if known is None or known.limits != self.limits:
                known = Origin((url.hostname or "", port), context, self.limits, clock, self.resolver)
            self.origins[place] = known
        endpoint, tracing = Endpoint(deployment, provider, self.origins[place]), self.policy.listener.tracing
        endpoint.traced = tracing is not None and deployment.provider in tracing.propagate
        return endpoint

    def _context(self, ca_file: str) -> ssl.SSLContext:
        """Return the TLS context of a CA file, that of the World before if it had one: reading the system's anchors is
        the dearest part of building a World."""
        context = self.trusts.get(ca_file) or (self._before and self._before.trusts.get(ca_file)) or _trust(ca_file)
        self.trusts[ca_file] = context
        return context


def _trust(ca_file: str) -> ssl.SSLContext:
    """Return a verifying TLS context: the system's anchors, and the provider's own file if it names one."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
