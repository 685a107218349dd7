"""FOCUS: charges as rows of the FinOps Open Cost and Usage Specification, dataset Cost and Usage, version 1.4. Pure.

The columns are those that the specification makes mandatory, some that apply here, and our own, which begin with `x_`
(https://focus.finops.org/focus-specification/). Empty is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from pointsman.core.billing import TAG, Issuer
from pointsman.core.invoice import bounds_of
from pointsman.core.pricing import usd_exact
from pointsman.core.statement import Line, Statement, tax_of

VERSION = "1.4"
INVOICE = "invoice"  # made for this: the number of the invoice that bills a charge
DIMENSIONS = ("day", "provider", "model", INVOICE)  # of every charge, before the cost centres
MOST_ROWS = 1_000_000  # of a customer
COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "Tags",
    "x_ChargeState",
    "x_InputTokens",
    "x_OutputTokens",
    "x_ProviderCost",
    "x_Requests",
)
_DAY_MS = 86_400_000
_OURS = "Pointsman"
_NONE = "Not Applicable"


class Account(msgspec.Struct, frozen=True):
    """Hold who is charged, who invoices, and the number of the period's invoice, "" if there is none."""

    id: str
    name: str
    issuer: Issuer
    invoice: str = ""


def rows(account: Account, found: Statement) -> Iterator[dict[str, str]]:
    """Yield the charges of a statement whose lines are grouped by DIMENSIONS and more; what is billed adds up to what is due.
    Unpriced usage is a row without cost in `x_ProviderCost`, and 0 in the columns that may not be null."""
    for line in found.lines:
        yield _charge(account, found, line)
    list_nano = found.subtotal_nano
    base = _base(account, found)
    if found.tax_nano:
        on_list = _usd(tax_of(list_nano, found.tax_basis_points))
        told = f"Tax, {found.tax_basis_points / 100:g} %"
        yield {**base, **_costs(found.tax_nano, on_list), "ChargeCategory": "Tax", "ChargeDescription": told}
    if found.rounding_nano:
        told = "Rounding to whole cents"
        yield {
            **base,
            **_costs(found.rounding_nano, _usd(found.rounding_nano)),
            "ChargeCategory": "Adjustment",
            "ChargeDescription": told,
        }


def _base(account: Account, found: Statement) -> dict[str, str]:
    begin_ms, end_ms = bounds_of(found.period)
    issuer = account.issuer.title or _OURS
    made = dict.fromkeys(COLUMNS, "")
    return made | {
        "BillingAccountId": account.id,
        "BillingAccountName": account.name,
        "BillingCurrency": found.currency,
        "BillingPeriodStart": _time(begin_ms),
        "BillingPeriodEnd": _time(end_ms),
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _time(begin_ms),
        "ChargePeriodEnd": _time(end_ms),
        "HostProviderName": _NONE,
        "InvoiceId": account.invoice,
        "InvoiceIssuerName": issuer,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": issuer,
        "ServiceProviderName": issuer,
        "ServiceSubcategory": "Generative AI",
    }


def _charge(account: Account, found: Statement, line: Line) -> dict[str, str]:
    base = _base(account, found)
    charged = (line.cost_nano or 0) + (line.markup_nano or 0)
    made = base | _costs(line.amount_nano or 0, _usd(charged)) | {"ContractedCost": _usd(line.amount_nano or 0)}
    if line.kind == "minimum":
        told = f"Minimum of markup {line.group['markup']}"
        return made | {"ChargeCategory": "Adjustment", "ChargeDescription": told}
    begin_ms = _day_ms(line.group["day"])
    provider, model = line.group["provider"] or _NONE, line.group["model"]
    tags = {
        name.removeprefix(TAG): value for name, value in line.group.items() if name not in DIMENSIONS and value
    }  # the cost centres
    late = line.kind == "late"
    return made | {
        "ChargeCategory": "Usage",
        "ChargeClass": "Correction" if late else "",
        "ChargeDescription": f"{line.state.capitalize()} tokens of {model or 'no model'}{', late' if late else ''}",
        "ChargePeriodStart": _time(begin_ms),
        "ChargePeriodEnd": _time(begin_ms + _DAY_MS),
        "ConsumedQuantity": str(line.quantity),
        "ConsumedUnit": "Tokens",
        "PricingQuantity": str(line.quantity),
        "PricingUnit": "Tokens",
        "HostProviderName": provider,
        "InvoiceId": line.group[INVOICE],
        "ServiceName": model or _NONE,
        "ServiceProviderName": provider,
        "SkuId": model,
        "SkuMeter": "Tokens",
        "Tags": json.dumps(tags, sort_keys=True, ensure_ascii=False),
        "x_ChargeState": line.state,
        "x_InputTokens": str(line.input_tokens),
        "x_OutputTokens": str(line.output_tokens),
        "x_ProviderCost": "" if line.cost_nano is None else _usd(line.cost_nano),
        "x_Requests": str(line.requests),
    }


def _costs(billed_nano: int, listed: str) -> dict[str, str]:
    """Return the four costs of a charge: as billed, and at list price; nothing is amortised."""
    billed = _usd(billed_nano)
    return {"BilledCost": billed, "EffectiveCost": billed, "ContractedCost": listed, "ListCost": listed}


def _usd(nano: int) -> str:
    return ("-" if nano < 0 else "") + usd_exact(abs(nano))


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day_ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
