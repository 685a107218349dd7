"""The Anthropic Messages wire, API versions 2023-06-01 and 2026-10-21."""

from pointsman.dialects.anthropic.dialect import Anthropic

__all__ = ["Anthropic"]
