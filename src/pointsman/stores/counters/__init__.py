"""Counters: what was used and is held of each quota, one back end a file, chosen by the scheme of `server.counters`."""
