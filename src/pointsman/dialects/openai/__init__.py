"""The OpenAI chat completions wire, also spoken by most other providers."""

from pointsman.dialects.openai.dialect import OpenAI

__all__ = ["OpenAI"]
