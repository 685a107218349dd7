"""The mock's prompt cache: remembers prefixes in blocks, so that repeated prompts report cached tokens."""

from __future__ import annotations

from collections import OrderedDict

from pointsman.lab.mock.ask import BYTES_PER_TOKEN, Ask
from pointsman.lab.mock.config import CacheSpec


class PrefixCache:
    """Hold the newest `spec.entries` prefix blocks; deterministic in the order of the requests."""

    def __init__(self, spec: CacheSpec) -> None:
        self._spec = spec
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def look(self, ask: Ask) -> tuple[int, int]:
        """Return (tokens read from the cache, tokens written to it) for the part that may be cached, and remember it.

        With `cache_texts` None (openai, gemini: automatic) nothing counts as written. Below `min_tokens`: (0, 0).
        """
        texts = ask.texts if ask.cache_texts is None else ask.texts[: ask.cache_texts]
        prefix = "".join(texts).encode("utf-8", "surrogatepass")
        size = self._spec.block_tokens * BYTES_PER_TOKEN
        prefix_tokens = -(-len(prefix) // BYTES_PER_TOKEN)
        if prefix_tokens < self._spec.min_tokens:
            return 0, 0
        link, hits, unbroken = hash(ask.model), 0, True
        for at in range(0, len(prefix) - size + 1, size):
            link = hash((link, prefix[at : at + size]))
            unbroken = unbroken and link in self._blocks
            hits += unbroken
            self._blocks[link] = None
            self._blocks.move_to_end(link)
        while len(self._blocks) > self._spec.entries:
            self._blocks.popitem(last=False)
        read = hits * self._spec.block_tokens
        if read < self._spec.min_tokens:
            read = 0
        return read, 0 if ask.cache_texts is None else prefix_tokens - read
