"""Retention: for how long the ledger keeps what it has."""

from __future__ import annotations

import msgspec


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Hold days, counted back from now; 0: for ever. What a request has, attempts and decision, goes with it. `after_export`:
    no request and no feedback goes before every export has it. Notices are no books: they go unless somebody wants them."""

    requests_days: int = 0
    decisions_days: int = 0
    feedback_days: int = 0
    hour_sums_days: int = 0
    day_sums_days: int = 0
    notices_days: int = 90
    after_export: bool = False

    @property
    def deletes(self) -> bool:
        """Tell whether anything is ever deleted."""
        days = (self.requests_days, self.decisions_days, self.feedback_days, self.hour_sums_days, self.day_sums_days)
        return any((*days, self.notices_days))
