"""The Gemini generateContent wire."""

from pointsman.dialects.gemini.dialect import Gemini

__all__ = ["Gemini"]
