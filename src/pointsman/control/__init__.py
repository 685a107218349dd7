"""The control plane, in its own process: ledger pump, queries, admin listener."""
