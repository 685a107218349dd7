"""The functional core: nouns and pure functions. No I/O, no clock, no randomness of its own, no await."""
