"""Pointsman: a self-hosted LLM router that decides, carries the call, and books what it cost."""

__version__ = "0.1.0"
