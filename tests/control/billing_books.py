"""A ledger with some requests of two organisations, rules to bill them by, and a biller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from records import AT_MS, admitted, attempt, decided, request_row, settled

from pointsman.control.billing.biller import Biller
from pointsman.core.billing import Billing, Customer, Discount, Issuer, Markup
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import Batch
from pointsman.stores.sqlite import FILE, SqliteWriter

LATER_MS = AT_MS + 40 * 86_400_000
MONTH = "2026-11"
EARLIER = -40 * 86_400  # seconds, to a day in October, which ended before these tests were written
RULES = Billing(
    issuer=Issuer(title="Router & Söhne", address=("Werkstraße 1", "Hamburg"), tax_id="DE1"),
    customers=(
        Customer(
            name="acme",
            where=(("organisation", "acme"),),
            title="Acme <b>Ltd</b>",
            address=("1 Main St", "London"),
            tax_basis_points=1900,
        ),
        Customer(name="globex", where=(("organisation", "globex"),)),
    ),
    markups=(Markup(name="standard", ppm=200_000, per_request_nano=1_000),),
    discounts=(Discount(name="five", ppm=50_000),),
    cost_centres=("model", "tag:env"),
    notes="Payable & <due>.",
)


def book(data: Path, *, first: int = 0, organisations: tuple[str, ...] = ("acme", "globex"), **more: Any) -> None:
    """Book six requests of each organisation, a second apart, from `first` seconds after AT_MS on."""
    batch = Batch()
    for place, organisation in enumerate(organisations):
        for n in range(6):
            number = first + place * 10 + n
            given = {"charge_nano": 123_456_789 + n, "charge_state": "estimated" if n == 5 else "measured", **more}
            before = admitted(
                number, caller=("dev", "site", "web", organisation), tags=("env:=prod",) if n % 2 else ()
            )  # fmt: skip
            batch.requests.append(request_row(before, settled(number, attempt(**given)), decided().head, {}))
    writer = SqliteWriter(data / FILE)
    writer.write(batch)
    writer.close()


def biller(data: Path, rules: Billing = RULES) -> Biller:
    return Biller(Stores(data), rules)
