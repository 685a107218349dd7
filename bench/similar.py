"""Measure on hand-written pairs what the words add to the vectors: python bench/similar.py [THRESHOLD]

Each pair of `similar_pairs.tsv` says whether the answer to the first question is right for the second (same) or not (other).
A hit on `other` is a wrong one. Precision is the share of right hits among the hits; its interval is Clopper and Pearson's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pointsman.core.embedding import cosine, local
from pointsman.core.likeness import differ, facts_of
from pointsman.core.trust import interval

PAIRS = Path(__file__).with_name("similar_pairs.tsv")
Pair = tuple[bool, str, str]
RULES: dict[str, Callable[[str, str], bool]] = {
    "vector only": lambda a, b: True,
    "vector and marks": lambda a, b: not differ(facts_of(a), facts_of(b), words=False),
    "vector and all words": lambda a, b: not differ(facts_of(a), facts_of(b), words=True),
}


def pairs() -> list[Pair]:
    """Return the pairs of the table."""
    rows = [line.split("\t") for line in PAIRS.read_text("utf-8").splitlines()]
    return [(kind == "same", one, other) for kind, one, other in rows]


def hits(threshold: float, agree: Callable[[str, str], bool]) -> tuple[int, int, list[Pair]]:
    """Return right hits, wrong hits and the wrong ones themselves."""
    found = [p for p in pairs() if cosine(local(p[1]), local(p[2])) >= threshold and agree(p[1], p[2])]
    wrong = [pair for pair in found if not pair[0]]
    return len(found) - len(wrong), len(wrong), wrong


def main() -> None:
    thresholds = [float(text) for text in sys.argv[1:]] or [0.7, 0.8, 0.92]
    same = sum(pair[0] for pair in pairs())
    print(f"{len(pairs())} pairs, {same} of them the same\n")
    print("| threshold | compared | right hits | wrong hits | precision | 95 % interval | of the same, found |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for threshold in thresholds:
        for name, agree in RULES.items():
            right, wrong, which = hits(threshold, agree)
            low, high = interval(right, right + wrong)
            share = right / (right + wrong) if right + wrong else 0.0
            print(
                f"| {threshold} | {name} | {right} | {wrong} | {share:.2f} | {low:.2f} to {high:.2f} | {right / same:.2f} |"
            )
            if name != "vector only":
                for _, one, other in which:
                    print(f"    wrong: {one} | {other}", file=sys.stderr)


if __name__ == "__main__":
    main()
