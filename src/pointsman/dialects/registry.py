"""All dialects by name. A new dialect is one row here and golden fixtures; the conformance suite does the rest."""

from __future__ import annotations

from pointsman.dialects.anthropic import Anthropic
from pointsman.dialects.base import Dialect
from pointsman.dialects.gemini import Gemini
from pointsman.dialects.openai import OpenAI

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (OpenAI(), Anthropic(), Gemini())}
