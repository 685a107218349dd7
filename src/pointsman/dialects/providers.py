"""Well-known providers: what a config may leave out when it says `provider: groq`.

Addresses and key variables are as the providers' own documentation and models.dev gave them in the second half of 2026;
`source` says which (docs: the provider's API documentation; models.dev: its snapshot of 2026-07-02). Facts nobody
documents stay None. A base URL is complete: nothing but the path of a call is ever appended to it, and no version segment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from pointsman.core.policy import AuthStyle
from pointsman.dialects.base import WireError

OLD_LIMIT = {"max_completion_tokens": "max_tokens"}  # servers that kept OpenAI's earlier name
_PARAMETER = re.compile(r"\{(\w+)\}")


class KnownProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a well-known provider: everything but the key.

    `base_url` may hold parameters in braces ({resource}, {region}, {account}); `parameters` lists them.
    """

    name: str
    dialect: str
    base_url: str
    key_env: tuple[str, ...] = ()  # environment variables its key is usually in, the usual first
    auth: AuthStyle = "bearer"
    path: str = ""  # path of a chat call; "": the dialect's own
    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    stream_usage: bool = True  # whether stream_options.include_usage may be sent
    reasoning_field: str = "reasoning_content"  # member of a message that takes thinking back; "": none does
    prices: str = ""  # its id in genai-prices; "": not in it
    cancel_stops_billing: bool | None = None  # whether hanging up on a stream ends the bill; None: not documented
    limits_per: Literal["account", "model"] | None = None  # what a 429 is about; None: not documented
    source: str = "models.dev"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names in braces of `base_url`, in order, each once."""
        return tuple(dict.fromkeys(_PARAMETER.findall(self.base_url)))


def filled(base_url: str, values: Mapping[str, str]) -> str:
    """Return `base_url` with its parameters filled in; WireError names the ones `values` lacks or fills with something
    that is no host or path word (letters, digits, dot, hyphen, underscore)."""
    wanted = dict.fromkeys(_PARAMETER.findall(base_url))
    if missing := [name for name in wanted if not re.fullmatch(r"[\w.-]+", values.get(name, ""), re.ASCII)]:
        raise WireError(f"base URL: no usable value for {', '.join(missing)}")
    return _PARAMETER.sub(lambda match: values[match[1]], base_url)


def _row(name: str, base_url: str, key_env: str, prices: str = "", **facts: object) -> KnownProvider:
    """Return a provider that speaks the OpenAI wire with the earlier name of the output limit, unless `facts` differ."""
    row = {"dialect": "openai", "rename": OLD_LIMIT} | facts
    return msgspec.convert(
        {"name": name, "base_url": base_url, "key_env": tuple(key_env.split()), "prices": prices} | row, KnownProvider
    )


_NO_RENAME: dict[str, str] = {}
_GEMINI = {"dialect": "gemini", "rename": _NO_RENAME}
_MESSAGES = {"dialect": "anthropic", "rename": _NO_RENAME, "auth": "x-api-key"}
_STRICT = {"reasoning_field": "", "rename": _NO_RENAME}  # refuses members it does not know
_NEW_LIMIT = {"rename": _NO_RENAME}

_ROWS = (
    _row(
        "openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "openai", limits_per="model",
        source="docs", **_STRICT,
    ),
    _row(
        "anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "anthropic", limits_per="model",
        source="docs", **_MESSAGES,
    ),
    _row(
        "google", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY GOOGLE_API_KEY", "google",
        auth="x-goog-api-key", limits_per="model", source="docs", **_GEMINI,
    ),
    _row(
        "vertex",
        "https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/publishers/google",
        "GOOGLE_ACCESS_TOKEN", "google", source="docs", **_GEMINI,
    ),
    _row(
        "azure", "https://{resource}.openai.azure.com/openai/v1", "AZURE_OPENAI_API_KEY AZURE_API_KEY",
        "azure", auth="api-key", source="docs", **_STRICT,
    ),
    _row(
        "bedrock", "https://bedrock-runtime.{region}.amazonaws.com/openai/v1", "AWS_BEARER_TOKEN_BEDROCK",
        "aws", cancel_stops_billing=False, source="docs", **_STRICT,
    ),
    _row(
        "bedrock-claude", "https://bedrock-mantle.{region}.api.aws/anthropic/v1",
        "AWS_BEARER_TOKEN_BEDROCK", "aws", cancel_stops_billing=False, source="docs", **_MESSAGES,
    ),
    # Mistral refuses members it does not know and reports usage in every stream unasked.
    _row(
        "mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", "mistral",
        rename={**OLD_LIMIT, "seed": "random_seed"}, drop=("user", "service_tier"), stream_usage=False,
        reasoning_field="", source="docs",
    ),
    _row("xai", "https://api.x.ai/v1", "XAI_API_KEY", "x-ai", source="docs", **_NEW_LIMIT),
    _row(
        "groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", "groq", reasoning_field="reasoning",
        limits_per="model", source="docs", **_NEW_LIMIT,
    ),
    _row(
        "cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "cerebras",
        reasoning_field="reasoning", limits_per="model", source="docs", **_NEW_LIMIT,
    ),
    _row("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY", "deepseek", limits_per="account"),
    _row(
        "openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter",
        reasoning_field="reasoning_details",
    ),
    _row(
        "together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", "together",
        reasoning_field="reasoning", source="docs",
    ),
    _row("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", "fireworks"),
    _row(
        "perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", "perplexity", stream_usage=False,
        reasoning_field="", source="docs",
    ),
    _row("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY DEEPINFRA_TOKEN", source="docs"),
    _row(
        "cohere", "https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY CO_API_KEY", "cohere",
        reasoning_field="", source="docs",
    ),
    _row("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN"),
    _row("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    _row("vercel", "https://ai-gateway.vercel.sh/v1", "AI_GATEWAY_API_KEY", source="docs"),
    _row("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", "moonshotai", limits_per="account"),
    _row("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY ZHIPU_API_KEY", "zai"),
    _row("zhipu", "https://open.bigmodel.cn/api/paas/v4", "ZHIPU_API_KEY", "zhipuai"),
    _row("alibaba", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    _row("minimax", "https://api.minimax.io/anthropic/v1", "MINIMAX_API_KEY", "minimax", **_MESSAGES),
    _row("siliconflow", "https://api.siliconflow.com/v1", "SILICONFLOW_API_KEY"),
    _row("nebius", "https://api.tokenfactory.nebius.com/v1", "NEBIUS_API_KEY"),
    _row("baseten", "https://inference.baseten.co/v1", "BASETEN_API_KEY", "baseten"),
    _row("friendli", "https://api.friendli.ai/serverless/v1", "FRIENDLI_TOKEN"),
    _row("scaleway", "https://api.scaleway.ai/v1", "SCALEWAY_API_KEY"),
    _row("ovhcloud", "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", "OVHCLOUD_API_KEY", "ovhcloud"),
    _row("stackit", "https://api.openai-compat.model-serving.eu01.onstackit.cloud/v1", "STACKIT_API_KEY"),
    _row("databricks", "https://{host}/ai-gateway/mlflow/v1", "DATABRICKS_TOKEN", "databricks"),
    _row("snowflake", "https://{account}.snowflakecomputing.com/api/v2/cortex/v1", "SNOWFLAKE_CORTEX_PAT"),
    _row(
        "cloudflare", "https://api.cloudflare.com/client/v4/accounts/{account}/ai/v1", "CLOUDFLARE_API_KEY",
        "cloudflare",
    ),
    _row("github", "https://models.github.ai/inference", "GITHUB_TOKEN"),
    _row("digitalocean", "https://inference.do-ai.run/v1", "DIGITALOCEAN_ACCESS_TOKEN"),
    _row("wandb", "https://api.inference.wandb.ai/v1", "WANDB_API_KEY"),
    _row("chutes", "https://llm.chutes.ai/v1", "CHUTES_API_KEY"),
    _row("inference-net", "https://inference.net/v1", "INFERENCE_API_KEY"),
    _row("io-net", "https://api.intelligence.io.solutions/api/v1", "IOINTELLIGENCE_API_KEY"),
    _row("llama", "https://api.llama.com/compat/v1", "LLAMA_API_KEY"),
    _row("novita", "https://api.novita.ai/openai", "NOVITA_API_KEY", "novita"),
    _row("upstage", "https://api.upstage.ai/v1/solar", "UPSTAGE_API_KEY"),
    _row("stepfun", "https://api.stepfun.com/v1", "STEPFUN_API_KEY"),
    _row("poe", "https://api.poe.com/v1", "POE_API_KEY"),
    _row("requesty", "https://router.requesty.ai/v1", "REQUESTY_API_KEY"),
    _row("ollama", "http://127.0.0.1:11434/v1", "", auth="none", reasoning_field="reasoning", source="docs"),
    _row("lmstudio", "http://127.0.0.1:1234/v1", "", auth="none", source="docs"),
    _row("vllm", "http://127.0.0.1:8000/v1", "", auth="none", source="docs"),
)  # fmt: skip

PROVIDERS: dict[str, KnownProvider] = {row.name: row for row in _ROWS}
