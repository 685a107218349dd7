"""Consumptions and billing rules for tests: small by hand, and any that there may be."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from pointsman.core.billing import Billing, Consumption, Customer, Discount, Markup, Tier

NANO = 1_000_000_000
ACME = Customer(name="acme", where=(("organisation", "acme"),), title="Acme Ltd", tax_basis_points=1900)
PERIOD = "2026-11"


def used(**more: Any) -> Consumption:
    """Return ten measured requests of acme that cost a dollar."""
    facts = {"organisation": "acme", "model": "m", "provider": "p", "route": "r", "team": "t"} | more.pop("facts", {})
    made = Consumption(
        month=PERIOD,
        facts=facts,
        state="measured",
        requests=10,
        answered=10,
        input_tokens=800_000,
        output_tokens=200_000,
        cost_nano=NANO,
    )
    return msgspec.structs.replace(made, **more)


def rules(**more: Any) -> Billing:
    return Billing(customers=(ACME,), **more)


_facts = st.fixed_dictionaries(
    {
        "organisation": st.just("acme"),
        "model": st.sampled_from(["m", "n", "o"]),
        "provider": st.sampled_from(["p", "q"]),
        "team": st.sampled_from(["", "a", "b"]),
        "tag:env": st.sampled_from(["", "prod", "dev"]),
    }
)
_where = st.lists(
    st.sampled_from([("model", "m"), ("provider", "p"), ("tag:env", "prod"), ("customer", "acme")]),
    max_size=2,
    unique=True,
).map(tuple)
_counts = st.integers(1, 10**6)


@st.composite
def consumption(draw: Any) -> Consumption:
    """Draw any consumption; an unpriced one costs nothing that is known."""
    state = draw(st.sampled_from(["measured", "estimated", "unpriced"]))
    requests = draw(_counts)
    return Consumption(
        month=draw(st.sampled_from([PERIOD, PERIOD, "2026-10", "2026-09"])),
        facts=draw(_facts),
        state=state,
        requests=requests,
        answered=draw(st.integers(0, requests)),
        input_tokens=draw(st.integers(0, 10**9)),
        output_tokens=draw(st.integers(0, 10**9)),
        cost_nano=0 if state == "unpriced" else draw(st.integers(0, 10**13)),
    )


@st.composite
def _tiers(draw: Any) -> tuple[Tier, ...]:
    overs = sorted(draw(st.lists(st.integers(0, 10**13), min_size=1, max_size=4, unique=True)))
    return tuple(Tier(over, draw(st.integers(0, 1_000_000))) for over in overs)


@st.composite
def billing(draw: Any) -> Billing:
    """Draw any rules."""
    markups = tuple(
        Markup(
            name=f"m{n}",
            where=draw(_where),
            ppm=draw(st.integers(0, 10_000_000)),
            per_request_nano=draw(st.integers(0, 10**7)),
            per_mtok_nano=draw(st.integers(0, 10**10)),
            min_nano=draw(st.sampled_from([0, 0, 10**12])),
        )
        for n in range(draw(st.integers(0, 3)))
    )
    discounts = []
    for n in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["ppm", "tiers", "credit"]))
        discounts.append(
            Discount(
                name=f"d{n}",
                where=draw(_where),
                ppm=draw(st.integers(0, 1_000_000)) if kind == "ppm" else 0,
                tiers=draw(_tiers()) if kind == "tiers" else (),
                credit_nano=draw(st.integers(0, 10**13)) if kind == "credit" else 0,
            )
        )
    tax = draw(st.sampled_from([0, 700, 1900, 10_000]))
    customer = msgspec.structs.replace(ACME, tax_basis_points=tax)
    return Billing(customers=(customer,), markups=markups, discounts=tuple(discounts))
