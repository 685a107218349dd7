"""Dialects: wire formats as pure functions between bytes and nouns; one registry."""
