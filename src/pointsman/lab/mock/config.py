"""What a mock provider server plays: providers, models, speeds, limits, faults; read from YAML, checked while read."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from pointsman.lab.faults import FaultError, Rule, check_rule

Ability = Literal["tools", "json", "images", "reasoning"]
DialectName = Literal["openai", "anthropic", "gemini"]
ALL_ABILITIES: tuple[Ability, ...] = ("tools", "json", "images", "reasoning")
_Z95 = 1.6448536269514722  # the standard normal's 95th percentile
MAX_CONFIG_BYTES = 4 * 1024 * 1024


class MockConfigError(ValueError):
    """Say that a mock configuration cannot be used: which file, which member, what was expected."""


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold a lognormal distribution by its median `p50` and 95th percentile `p95`, both >= 0, p95 >= p50."""

    p50: float
    p95: float

    def __post_init__(self) -> None:
        if not 0 <= self.p50 <= self.p95:
            raise ValueError("needs 0 <= p50 <= p95")

    def draw(self, rng: random.Random) -> float:
        """Return one draw, >= 0; ln X ~ N(ln p50, (ln p95 - ln p50) / 1.645)."""
        if self.p50 <= 0 or self.p50 == self.p95:
            return self.p50
        return self.p50 * math.exp(rng.gauss(0.0, 1.0) * math.log(self.p95 / self.p50) / _Z95)


class ReasoningSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold how a model thinks: how many tokens, and whether the text is shown (in `field` on the openai wire)."""

    tokens: Spread = Spread(60, 200)
    visible: bool = True
    field: str = "reasoning_content"
    always: bool = False  # think even when the request does not ask for it


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold how one model behaves. `tokens_per_s: 0` means at once; `context` bounds prompt plus output, in tokens."""

    ttft_ms: Spread = Spread(200, 600)
    tokens_per_s: float = 80.0
    output_tokens: Spread = Spread(80, 300)
    context: int = 128_000
    max_output: int = 16_384
    supports: tuple[Ability, ...] = ALL_ABILITIES
    reasoning: ReasoningSpec | None = None
    refuse: float = 0.0  # probability of a refusal, 0..1
    tokens_per_event: int = 1  # tokens carried by one content event of a stream
    early_headers: bool = False  # headers and preamble leave at once instead of with the first token

    def __post_init__(self) -> None:
        if self.tokens_per_s < 0 or self.tokens_per_event < 1 or self.context < 1 or not 0 <= self.refuse <= 1:
            raise ValueError("needs tokens_per_s >= 0, tokens_per_event >= 1, context >= 1, 0 <= refuse <= 1")


class CacheSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the prompt cache: prefixes of at least `min_tokens` hit in blocks of `block_tokens`; `entries` bounds it."""

    min_tokens: int = 1024
    block_tokens: int = 128
    entries: int = 65_536


class Capacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the limits beyond which a provider answers 429; None is unlimited."""

    concurrent: int | None = None
    per_s: float | None = None
    retry_after_s: float = 1.0


class ProviderSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold one provider. `keys` is name -> accepted secret, empty accepts anything; equal non-zero ports are shared."""

    name: str
    dialect: DialectName
    models: dict[str, ModelSpec]
    port: int = 0
    prefix: str = ""  # answers only below this path, e.g. /groq
    keys: dict[str, str] = {}
    cache: CacheSpec | None = None
    capacity: Capacity | None = None
    bad_key_status: int | None = None  # default: what the real service answers (401; gemini 400 with API_KEY_INVALID)


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cert: str
    key: str


class MockConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold everything a mock server plays. `time_scale` multiplies every latency: 0 answers at once."""

    providers: tuple[ProviderSpec, ...]
    script: tuple[Rule, ...] = ()
    seed: int = 1
    time_scale: float = 1.0
    host: str = "127.0.0.1"
    admin_port: int = 0
    log_file: str | None = None
    log_size: int = 100_000
    tls: Tls | None = None


def load_mock_config(path: Path) -> MockConfig:
    """Read a YAML file of at most 4 MiB. Raises MockConfigError with file and member, OSError if unreadable."""
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise MockConfigError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes")
    return mock_config(path.read_text(encoding="utf-8"), name=str(path))


def mock_config(source: str | dict[str, object], *, name: str = "mock") -> MockConfig:
    """Return the checked configuration of YAML text or of plain values. Raises MockConfigError."""
    try:
        raw: object = yaml.safe_load(source) if isinstance(source, str) else source
        config = msgspec.convert(raw, MockConfig)
        for rule in config.script:
            check_rule(rule)
    except yaml.YAMLError as error:
        raise MockConfigError(f"{name}: not YAML: {error}") from error
    except (msgspec.ValidationError, FaultError) as error:
        raise MockConfigError(f"{name}: {error}") from error
    _check(config, name)
    return config


def _check(config: MockConfig, name: str) -> None:
    if not config.providers:
        raise MockConfigError(f"{name}: providers: at least one is needed")
    seen: set[str] = set()
    for at, provider in enumerate(config.providers):
        if not provider.name or provider.name.startswith("_"):
            raise MockConfigError(f"{name}: providers[{at}].name: must not be empty or start with '_'")
        if provider.name in seen:
            raise MockConfigError(f"{name}: providers[{at}].name: {provider.name!r} is used twice")
        if not provider.models:
            raise MockConfigError(f"{name}: providers[{at}].models: at least one is needed")
        seen.add(provider.name)
    for index, rule in enumerate(config.script):
        if rule.match.provider is not None and rule.match.provider not in seen:
            raise MockConfigError(f"{name}: script[{index}].match.provider: no provider {rule.match.provider!r}")
