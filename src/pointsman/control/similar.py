"""Similar: what is known of the routes that answer similar questions, for the admin API and the command line."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pointsman.core.trust import CONFIDENCE, interval
from pointsman.stores.trusts import all_trusts

FOLDER = "similar"


class Row(msgspec.Struct, frozen=True):
    """Hold one route. Shares are of the answers judged since the threshold last changed; `judged_ever` and `wrong_ever` count
    since the settings did; `down` of these came by feedback. Unix milliseconds; 0: never."""

    route: str
    embeddings: str
    wrong_hits: float
    threshold: float
    off: bool
    judged: int
    wrong: int
    wrong_low: float
    wrong_high: float
    judged_ever: int
    wrong_ever: int
    down: int
    tightened: int
    eased: int
    changed_ms: int
    confidence: float = CONFIDENCE


def similar_rows(data: Path) -> list[Row]:
    """Return what is known of each route that has had a verdict, by name."""
    rows = []
    for trust in all_trusts(data / FOLDER):
        embeddings, _, wrong_hits = trust.settings.rsplit(" ", 2)
        low, high = interval(trust.wrong, trust.checked)
        rows.append(
            Row(
                route=trust.route,
                embeddings=embeddings,
                wrong_hits=float(wrong_hits),
                threshold=trust.threshold,
                off=trust.off,
                judged=trust.checked,
                wrong=trust.wrong,
                wrong_low=low,
                wrong_high=high,
                judged_ever=trust.all_checked,
                wrong_ever=trust.all_wrong,
                down=trust.down,
                tightened=trust.tightened,
                eased=trust.eased,
                changed_ms=trust.changed_ms,
            )
        )
    return rows
