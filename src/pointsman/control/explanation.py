"""Explanation: why a request went where it went, from its ledger entry. Pure; terminal, JSON and page all show this."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from pointsman.control.replay import decision_again
from pointsman.core.decide import Decision
from pointsman.core.explain import REASONS, Candidate, candidates_of, facts_of, sentences
from pointsman.stores.ledger import Entry

__all__ = ["REASONS", "Candidate", "Explanation", "candidates_of", "explain"]


class Explanation(msgspec.Struct, frozen=True):
    """Hold an entry made readable. `why` are sentences; `facts` what the filters looked at; `seed` the only chance."""

    id: str
    why: list[str]
    facts: dict[str, Any]
    candidates: list[Candidate]
    attempts: list[dict[str, Any]]
    request: dict[str, Any]
    seed: str
    feedback: list[dict[str, Any]]


def explain(entry: Entry) -> Explanation:
    """Return the explanation of an entry; without its Decision, what the rows alone tell."""
    decision, row = decision_again(entry), entry.request
    return Explanation(
        id=row["id"],
        why=_why(decision, row, entry.attempts),
        facts=facts_of(decision) if decision is not None else {},
        candidates=candidates_of(decision) if decision is not None else [],
        attempts=entry.attempts,
        request=row,
        seed=repr(decision.snapshot.seed) if decision is not None else "",
        feedback=entry.feedback,
    )


def _why(decision: Decision | None, row: dict[str, Any], attempts: list[dict[str, Any]]) -> list[str]:
    said = sentences(decision) if decision is not None else [f"The decision is not readable; reason: {row['reason']}."]
    for before, after in pairwise(attempts):
        if before["outcome"] == "ok":  # nothing follows an answer
            said.append(f"{before['deployment']} gave the vector of the question.")
            continue
        again = "tried again" if after["deployment"] == before["deployment"] else f"went on to {after['deployment']}"
        said.append(f"{before['deployment']} ended with {before['outcome']}, so the router {again}.")
    if row["recovered"]:
        said.append("The worker died before the end, so the predicted cost is charged as an estimate.")
    elif row["degraded"] and row["outcome"] == "degraded":
        said.append(f"No deployment answered, so the route's ladder did: {row['degraded']}.")
    elif row["cache"] == "semantic":
        said.append(f"The question is similar to that of {row['cached_id']}, whose answer was given again.")
    elif row["cached_id"]:
        said.append(f"Nothing was sent: the answer to {row['cached_id']} was kept, and given again.")
    elif not attempts:
        said.append("Nothing was sent.")
    elif row["outcome"] == "ok":
        said.append(f"{attempts[-1]['deployment']} answered.")
    else:
        said.append(f"{attempts[-1]['deployment']} ended it with {row['outcome']}.")
    return said
