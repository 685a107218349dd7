"""Tables of LiteLLM's format: its providers, and what becomes of each setting.

Read in its documentation: proxy/configs, proxy/config_settings, proxy/reliability, proxy/load_balancing, routing.
"""

from __future__ import annotations

import msgspec


class Target(msgspec.Struct, frozen=True):
    """Hold what one of LiteLLM's provider prefixes is here. `known` is our provider, "" for any OpenAI-compatible server;
    `key` is the variable that LiteLLM takes its key from; `suffix` completes its `api_base`."""

    known: str = ""
    key: str = ""
    suffix: str = ""


PREFIXES: dict[str, Target] = {
    "openai": Target("openai", "OPENAI_API_KEY"),
    "anthropic": Target("anthropic", "ANTHROPIC_API_KEY", "/v1"),
    "gemini": Target("google", "GEMINI_API_KEY", "/v1beta"),
    "azure": Target("azure", "AZURE_API_KEY", "/openai/v1"),
    "groq": Target("groq", "GROQ_API_KEY"),
    "mistral": Target("mistral", "MISTRAL_API_KEY"),
    "deepseek": Target("deepseek", "DEEPSEEK_API_KEY"),
    "openrouter": Target("openrouter", "OPENROUTER_API_KEY"),
    "xai": Target("xai", "XAI_API_KEY"),
    "cerebras": Target("cerebras", "CEREBRAS_API_KEY"),
    "perplexity": Target("perplexity", "PERPLEXITYAI_API_KEY"),
    "deepinfra": Target("deepinfra", "DEEPINFRA_API_KEY"),
    "cohere": Target("cohere", "COHERE_API_KEY"),
    "cohere_chat": Target("cohere", "COHERE_API_KEY"),
    "together_ai": Target("together", "TOGETHERAI_API_KEY"),
    "fireworks_ai": Target("fireworks", "FIREWORKS_AI_API_KEY"),
    "nvidia_nim": Target("nvidia", "NVIDIA_NIM_API_KEY"),
    "vercel_ai_gateway": Target("vercel", "VERCEL_AI_GATEWAY_API_KEY"),
    "moonshot": Target("moonshot", "MOONSHOT_API_KEY"),
    "zai": Target("zai", "ZAI_API_KEY"),
    "dashscope": Target("alibaba", "DASHSCOPE_API_KEY"),
    "nebius": Target("nebius", "NEBIUS_API_KEY"),
    "baseten": Target("baseten", "BASETEN_API_KEY"),
    "friendliai": Target("friendli", "FRIENDLI_TOKEN"),
    "ovhcloud": Target("ovhcloud", "OVHCLOUD_API_KEY"),
    "github": Target("github", "GITHUB_API_KEY"),
    "wandb": Target("wandb", "WANDB_API_KEY"),
    "meta_llama": Target("llama", "LLAMA_API_KEY"),
    "novita": Target("novita", "NOVITA_API_KEY"),
    "ollama": Target("ollama", "", "/v1"),
    "ollama_chat": Target("ollama", "", "/v1"),
    "lm_studio": Target("lmstudio", "LM_STUDIO_API_KEY"),
    "hosted_vllm": Target("vllm", "HOSTED_VLLM_API_KEY"),
    "openai_like": Target(),
    "custom_openai": Target(),
    "llamafile": Target(),
    "xinference": Target(),
    "huggingface": Target(suffix="/v1"),  # an endpoint of one's own; their router wants other names of models
    "litellm_proxy": Target(key="LITELLM_PROXY_API_KEY"),
}
BY_MODEL = {
    "gpt-": "openai",
    "chatgpt-": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "claude-": "anthropic",
}
LOCAL_KEYS = {"ollama", "lmstudio", "vllm", ""}  # of ours, those that may go without a key
NO_KEY = {"", "none", "null", "empty", "na", "n/a", "dummy", "not-needed", "no-key"}  # what people write for no key

_BEDROCK = "Bedrock is called with a bearer token here, not with AWS keys: see bedrock and bedrock-claude in docs/providers.md."
_VERTEX = "Vertex is called with an access token here, not with a service account: see vertex in docs/providers.md."
_NO_WIRE = "no wire of ours speaks to it; behind an OpenAI-compatible gateway it can be used with dialect: openai."
UNSUPPORTED = {
    "bedrock": _BEDROCK,
    "bedrock_converse": _BEDROCK,
    "sagemaker": _NO_WIRE,
    "sagemaker_chat": _NO_WIRE,
    "vertex_ai": _VERTEX,
    "vertex_ai_beta": _VERTEX,
    "azure_ai": "Foundry serves several wires: write the provider by hand, with the dialect of the model.",
    "databricks": "write the provider by hand: databricks needs its host under parameters.",
    "snowflake": "write the provider by hand: snowflake needs its account under parameters.",
    "cloudflare": "write the provider by hand: cloudflare needs its account under parameters.",
    "text-completion-openai": "only chat completions are served.",
    "text-completion-codestral": "only chat completions are served.",
    "watsonx": _NO_WIRE,
    "replicate": _NO_WIRE,
    "predibase": _NO_WIRE,
    "oci": _NO_WIRE,
}

# Members of litellm_params and model_info.
PARAMS = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "n", "presence_penalty", "frequency_penalty"),
    *("logit_bias", "logprobs", "top_logprobs", "response_format", "reasoning_effort", "service_tier", "user"),
    *("tool_choice", "parallel_tool_calls", "tools", "thinking", "verbosity", "modalities"),
)
PRICES = {  # -> of ours, per million
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
}
FACTS = {  # of model_info -> of ours
    "supports_function_calling": "tools",
    "supports_response_schema": "json_schema",
    "supports_reasoning": "reasoning",
}
MODALITIES = {
    "supports_vision": "image",
    "supports_audio_input": "audio",
    "supports_pdf_input": "file",
    "supports_video_input": "video",
}
NO_RATES = "there are no limits by the minute here; a provider's 429 makes its account rest."
MODEL_IDLE = {
    "api_version": "the address here has no version in its query.",
    "base_model": "the catalog knows the model by its own name; write `price` if it does not.",
    "drop_params": "what a known provider refuses is left out; see `drop` of a provider.",
    "use_in_pass_through": "there are no pass-through endpoints here.",
    "litellm_trace_id": "requests have ids of their own.",
    "merge_reasoning_content_in_choices": "thinking stays where the client's wire has it.",
    "db_model": "models stand in this file only.",
    "created_at": "a note.",
    "updated_at": "a note.",
    "created_by": "a note.",
    "updated_by": "a note.",
    "description": "a note.",
    "version": "a note.",
    "key": "a note.",
    "litellm_provider": "the prefix of the model says it.",
    "supported_openai_params": "a note.",
}
MODEL_LOST = {
    "rpm": NO_RATES,
    "tpm": NO_RATES,
    "itpm": NO_RATES,
    "otpm": NO_RATES,
    "default_api_key_rpm_limit": NO_RATES,
    "default_api_key_tpm_limit": NO_RATES,
    "max_parallel_requests": "there is no limit of requests at a time for a deployment.",
    "max_retries": "attempts are counted for the route: `attempts`, or `limits.attempts`.",
    "num_retries": "attempts are counted for the route: `attempts`, or `limits.attempts`.",
    "stream_timeout": "is the wait for the first content of a stream: write it as `ttft_ms`.",
    "max_budget": "money is limited for a route: `limits: {usd_per_day: ...}`.",
    "budget_duration": "money is limited for a route and a day: `limits: {usd_per_day: ...}`.",
    "tags": "write a rule: when: '\"TAG\" in request.tags'.",
    "input_cost_per_second": "prices are by token or by request.",
    "output_cost_per_second": "prices are by token or by request.",
    "azure_ad_token": "use a key, or a gateway that adds the token.",
    "tenant_id": "use a key, or a gateway that adds the token.",
    "client_id": "use a key, or a gateway that adds the token.",
    "client_secret": "use a key, or a gateway that adds the token.",
    "configurable_clientside_auth_params": "clients cannot bring keys or addresses of their own.",
    "mock_response": "`pointsman mock` plays providers; a rung with `reply` answers a text.",
    "access_groups": "say with `routes` of a key what it may use.",
    "team_id": "say with `routes` of a key what it may use.",
    "health_check_model": "health is measured by the requests themselves.",
    "health_check_timeout": "health is measured by the requests themselves.",
    "disable_background_health_check": "health is measured by the requests themselves.",
    "max_file_size_mb": "`limits.body_bytes` bounds every request.",
    "tier": "write rules over `caller.tier`.",
}

_REDIS = "nothing is shared through Redis here."
_LOGS = "there are no callbacks: the ledger has every request, and /metrics the sums."
_CACHE = "say it on the routes that may give answers again: `cache: 1h` (docs/caching.md)."
_DATABASE = "there is no database to be named: the ledger stands in the data folder."
_BY_KIND = "how often an error is tried again goes by its kind here (docs/errors.md)."
_QUIET = "the log has no levels here."
# Of litellm_settings, router_settings and general_settings together.
IDLE = {
    "redis_host": _REDIS,
    "redis_port": _REDIS,
    "redis_password": _REDIS,
    "redis_url": _REDIS,
    "redis_db": _REDIS,
    "client_ttl": "connections are kept for `limits.upstream_max_age_ms`.",
    "enable_pre_call_checks": "windows are always checked.",
    "enable_pre_call_check": "windows are always checked.",
    "set_verbose": _QUIET,
    "json_logs": _QUIET,
    "debug_level": _QUIET,
    "telemetry": "nothing is sent to anyone.",
    "suppress_debug_info": _QUIET,
    "drop_params": MODEL_IDLE["drop_params"],
    "modify_params": "requests are changed only as far as the wire demands.",
    "database_url": _DATABASE,
    "database_connection_pool_limit": _DATABASE,
    "database_connection_timeout": _DATABASE,
    "store_model_in_db": _DATABASE,
    "disable_spend_logs": _DATABASE,
    "disable_spend_updates": _DATABASE,
    "proxy_batch_write_at": _DATABASE,
    "allow_requests_on_db_unavailable": _DATABASE,
    "disable_prisma_schema_update": _DATABASE,
    "background_health_checks": "health is measured by the requests themselves.",
    "health_check_interval": "health is measured by the requests themselves.",
    "ignore_invalid_deployments": "a file with a fault is refused as a whole.",
    "routing_strategy_args": "strategies have no arguments.",
}
LOST = {
    "cache": _CACHE,
    "cache_params": _CACHE,
    "cache_responses": _CACHE,
    "cache_kwargs": _CACHE,
    "caching_groups": _CACHE,
    "success_callback": _LOGS,
    "failure_callback": _LOGS,
    "callbacks": _LOGS,
    "service_callbacks": _LOGS,
    "turn_off_message_logging": _LOGS,
    "redact_user_api_key_info": _LOGS,
    "langfuse_default_tags": _LOGS,
    "default_team_settings": _LOGS,
    "alerting": "watch /metrics (docs/metrics.md).",
    "alerting_threshold": "watch /metrics (docs/metrics.md).",
    "alerting_args": "watch /metrics (docs/metrics.md).",
    "content_policy_fallbacks": "a refusal of the provider is passed on, not tried elsewhere.",
    "retry_policy": _BY_KIND,
    "model_group_retry_policy": _BY_KIND,
    "allowed_fails_policy": _BY_KIND,
    "retry_after": _BY_KIND,
    "disable_cooldowns": "the breaker cannot be switched off.",
    "stream_timeout": MODEL_LOST["stream_timeout"],
    "max_fallbacks": "`limits.attempts` bounds all sends of a request together.",
    "default_litellm_params": "write `params` at the routes.",
    "max_budget": MODEL_LOST["max_budget"],
    "budget_duration": MODEL_LOST["budget_duration"],
    "provider_budget_config": MODEL_LOST["max_budget"],
    "enable_tag_filtering": MODEL_LOST["tags"],
    "tag_filtering_match_any": MODEL_LOST["tags"],
    "optional_pre_call_checks": "`sticky` of a route keeps conversations with their deployment.",
    "deployment_affinity_ttl_seconds": "`sticky: {ttl: ...}` of a route says it.",
    "default_max_parallel_requests": MODEL_LOST["max_parallel_requests"],
    "max_parallel_requests": MODEL_LOST["max_parallel_requests"],
    "global_max_parallel_requests": "`limits.connections` bounds the connections of a worker.",
    "custom_auth": "clients have keys: `keys`.",
    "enable_jwt_auth": "clients have keys: `keys`.",
    "completion_model": "clients name a route; there is no default.",
    "forward_client_headers_to_llm_api": "only openai-beta is passed on.",
    "pass_through_endpoints": "there are no pass-through endpoints here.",
    "key_management_system": 'secrets come from variables or files: "${NAME}", {file: path}.',
    "model_alias_map": "write a route with the alias as its name.",
}
SECTIONS = {
    "callback_settings": _LOGS,
    "guardrails": "there are no guard-rails yet.",
    "prompts": "`prompt_prefix` of a route puts a text first.",
    "mcp_servers": "there is no MCP gateway here.",
    "vector_store_registry": "only chat completions are served.",
    "search_tools": "only chat completions are served.",
    "finetune_settings": "only chat completions are served.",
    "files_settings": "only chat completions are served.",
    "assistant_settings": "only chat completions are served.",
    "include": "import the files it names one by one.",
    "worker_config": "a setting of another server.",
}
