"""Gen AI: the names of OpenTelemetry's conventions for generative AI, all in one place, because they still change.

Source: open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-spans.md and gen-ai-metrics.md, which are in
development; `gen_ai.system` and `gen_ai.usage.prompt_tokens` of older versions are not written.
"""

from __future__ import annotations

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai/1.42.0"
CHAT = "chat"

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_CHOICES = "gen_ai.request.choice.count"
RESPONSE_MODEL = "gen_ai.response.model"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
CONVERSATION = "gen_ai.conversation.id"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
ERROR_TYPE = "error.type"
STATUS_CODE = "http.response.status_code"

# Our name of a known provider -> the conventions' well-known value; any other is written as the config names it.
WELL_KNOWN = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock-claude": "aws.bedrock",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}


def provider_name(name: str) -> str:
    """Return the value of `gen_ai.provider.name` for a provider of the config."""
    return WELL_KNOWN.get(name, name)
