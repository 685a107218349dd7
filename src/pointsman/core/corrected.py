"""Corrected: what of an invoice was credited and may be billed anew, and the usage behind it. Pure.

Usage is freed by credit notes of whole lines, and all of it once nothing is left of the invoice; a note of an amount frees
nothing. Each line is billed anew once, by one invoice that names it. That invoice can be credited, and corrected, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from pointsman.core.billing import Consumption
from pointsman.core.converted import parts_of
from pointsman.core.invoice import CreditNote, Document, Invoice, Refused, Settled, left_of
from pointsman.core.statement import Line, Statement, summed

Key = tuple[str, tuple[tuple[str, str], ...], str]  # of a line: month, group, state; month "" for the least of a markup


def open_lines(invoice: Invoice, related: Iterable[Document]) -> tuple[int, ...]:
    """Return the lines of an invoice that were credited and not billed anew, given the documents about it. Raise Refused when
    there are none."""
    others = [*related]
    left = left_of(invoice, [one for one in others if isinstance(one, CreditNote)])
    every = {line.n for line in invoice.statement.lines}
    credited = every if left.due_nano <= 0 < invoice.due_nano else {*left.lines}
    if not credited:
        raise Refused(f"no whole line of {invoice.number} has been credited")
    again = {
        n: one.number for one in others if isinstance(one, Invoice) and one.corrects
        for n in one.corrects.lines if one.corrects.number == invoice.number
    }  # fmt: skip
    found = tuple(sorted(credited - again.keys()))
    if not found:
        raise Refused(
            f"what was credited of {invoice.number} was billed anew by {', '.join(sorted({*again.values()}))}"
        )
    return found


def groups_of(invoice: Invoice) -> tuple[str, ...]:
    """Return the facts that an invoice's lines are grouped by."""
    return next((tuple(line.group) for line in invoice.statement.lines if line.kind != "minimum"), ())


def line_of(invoice: Invoice, used: Consumption) -> int:
    """Return the line that a consumption behind an invoice stands on; 0: on none."""
    wanted = (used.month, tuple((name, used.facts.get(name, "")) for name in sorted(groups_of(invoice))), used.state)
    return next((line.n for line in invoice.statement.lines if _key(line) == wanted), 0)


def behind(
    invoice: Invoice, used: Sequence[Consumption], invoices: Mapping[str, Invoice], settled: Settled
) -> list[Consumption]:
    """Return the usage that an invoice bills. Raise Refused when the ledger has not all of it any more."""
    found = [one for one in used if settled.by(one) == _first(invoice, invoices).number]
    chain = [invoice]
    while chain[-1].corrects:
        chain.append(invoices[chain[-1].corrects.number])
    for later, earlier in reversed([*pairwise(chain)]):
        wanted = {*later.corrects.lines} if later.corrects else set()
        found = [one for one in found if line_of(earlier, one) in wanted]
    counts: dict[int, int] = {}
    for one in found:
        n = line_of(invoice, one)
        counts[n] = counts.get(n, 0) + one.requests
    for line in invoice.statement.lines:
        if line.kind != "minimum" and counts.get(line.n, 0) != line.requests:
            raise Refused(f"the ledger has not all requests of line {line.n} of {invoice.number} any more")
    return found


class Last:
    """Tell which invoice bills a consumption last, given all invoices there are: the first one, or one that corrects it."""

    def __init__(self, invoices: Iterable[Invoice]) -> None:
        self._corrections: dict[str, list[Invoice]] = {}
        every = {one.number: one for one in invoices}
        for one in every.values():
            if one.corrects:
                self._corrections.setdefault(one.corrects.number, []).append(one)
        self._corrected = {number: every[number] for number in self._corrections}
        self.groups = tuple(
            {name for one in self._corrected.values() for name in groups_of(one)}
        )  # facts that it looks at

    def by(self, number: str, used: Consumption) -> str:
        """Return the number of the last invoice; `number` is the first one."""
        while number in self._corrected:
            n = line_of(self._corrected[number], used)
            later = [one.number for one in self._corrections[number] if one.corrects and n in one.corrects.lines]
            if not later:
                break
            number = later[0]
        return number


def anew(found: Statement, invoice: Invoice, lines: Sequence[int]) -> Statement:
    """Return what of a statement of all the usage behind an invoice, in dollars, stands for these lines of it: a discount or a
    least amount that all of it had is shared out as if all were billed."""
    whole = len(lines) == len(invoice.statement.lines)
    wanted = {_key(line) for line in invoice.statement.lines if line.n in lines}
    kept = [line for line in found.lines if _key(line) in wanted or (whole and line.kind == "minimum")]
    made = summed(
        msgspec.structs.replace(
            found, lines=tuple(msgspec.structs.replace(line, n=n) for n, line in enumerate(kept, 1))
        )
    )
    return msgspec.structs.replace(
        made, markups=parts_of(made.markups, made.markup_nano), discounts=parts_of(made.discounts, made.discount_nano)
    )


def _key(line: Line) -> Key:
    return ("" if line.kind == "minimum" else line.period, tuple(sorted(line.group.items())), line.state)


def _first(invoice: Invoice, invoices: Mapping[str, Invoice]) -> Invoice:
    while invoice.corrects:
        invoice = invoices[invoice.corrects.number]
    return invoice
