"""Billing: customers with their statements so far, invoices and credit notes. Pure: values in, HTML out."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from pointsman.control.billing.biller import Period, Stated
from pointsman.control.dashboard.frame import Shell, field, framed, moment, secret_fields, select, to
from pointsman.control.figures import clean, count
from pointsman.control.html import Child, Html, el, join, table
from pointsman.core.billing import Billing
from pointsman.core.invoice import INVOICE, Kept, currency_of, money

FORMS = ("pdf", "html", "csv", "json")
MONTHS = 12  # offered


class View(msgspec.Struct, frozen=True):
    """Hold all that the page shows. `customer`: the only one whose documents are asked for, "" for all; `next`: `after` of the
    next page of documents, 0 when there is none."""

    rules: Billing
    month: str
    months: list[str]
    documents: list[Kept]
    customer: str = ""
    next: int = 0
    told: str = ""
    trouble: str = ""


def may_bill(shell: Shell) -> bool:
    """Tell whether somebody may issue documents: an admin who is bound to no organisation."""
    return shell.may_change and shell.who is not None and not shell.who.organisation


def billing_page(shell: Shell, view: View) -> str:
    """Return the page; its script fetches the statements, which take some time to be reckoned."""
    parts: list[Child] = [
        el("p", clean(view.told), class_="notice", role="status") if view.told else None,
        el("p", clean(view.trouble), class_="notice bad", role="alert") if view.trouble else None,
        _form(view),
        el("h2", f"Statements of {view.month}"),
    ]
    if view.rules.customers:
        path = to("/billing/statements", period=view.month)
        link = el("a", "Reckon them", href=path)
        parts.append(el("div", el("p", link, class_="empty"), data_later=path + "&part=1", class_="later"))
        parts += [el("h2", "Rules"), _rules(view.rules)]
    else:
        told = "Nobody is billed: `billing.customers` in the config says whose requests are whose."
        parts.append(el("p", told, class_="empty"))
    parts += [el("h2", "Invoices and credit notes"), _documents(shell, view)]
    if view.next:
        parts.append(el("p", el("a", "More", href=_link(view, view.next)), class_="pager"))
    return framed(shell, "Billing", *parts)


def statements_page(shell: Shell, month: str, part: Html) -> str:
    """Return the statements as a page of their own, for who has no script."""
    back = el("a", "Billing", href=to("/billing", period=month))
    return framed(shell, f"Statements of {month}", part, aside=back)


def statements_part(shell: Shell, month: str, found: Period) -> Html:
    """Return what each customer used in a month, billed or not."""
    billing = may_bill(shell)
    rows = [_stated(shell, month, one, billing) for one in found.stated]
    head = ("customer", ">requests", ">cost", ">markup", ">discount", ">tax", ">due", "invoice", "statement",
            *(("",) if billing else ()))  # fmt: skip
    made = table(head, rows, "No customer used anything in this month.", f"Statements of {month}")
    nobody = found.nobody.requests
    told = f"{count(nobody)} requests belong to no customer." if nobody else None
    return join(made, el("p", told, class_="quiet") if told else None)


def _stated(shell: Shell, month: str, one: Stated, billing: bool) -> tuple[Child, ...]:
    made, name = one.statement, one.statement.customer
    requests: list[Child] = [count(made.requests)]
    if made.unpriced_requests:
        requests.append(el("span", f", {count(made.unpriced_requests)} unpriced", class_="warn"))
    if made.estimated_requests:
        requests.append(el("span", f", {count(made.estimated_requests)} estimated", class_="warn"))
    cells: tuple[Child, ...] = (
        clean(name),
        join(*requests),
        money(made.cost_nano, made.currency),
        money(made.markup_nano, made.currency),
        money(made.discount_nano, made.currency),
        money(made.tax_nano, made.currency),
        el("b", money(made.due_nano, made.currency)),
        clean(one.invoice) or el("span", "not yet", class_="quiet"),
        _downloads(f"/billing/statements/{quote(name, safe='')}/{month}", f"statement of {name}"),
    )
    return (*cells, "" if one.invoice else _issue(shell, month, name)) if billing else cells


def _issue(shell: Shell, month: str, customer: str) -> Html:
    """Return what issues an invoice, behind a first click."""
    form = el(
        "form",
        secret_fields(shell),
        el("input", type="hidden", name="customer", value=customer),
        el("input", type="hidden", name="period", value=month),
        _check("early", "before the month has ended"),
        _check("allow_unpriced", "though some is unpriced"),
        el("button", "Issue for good", type="submit", class_="danger"),
        method="post",
        action="/billing/issue",
        class_="edit",
    )
    return el("details", el("summary", "Issue"), form)


def _check(name: str, label: str) -> Html:
    return el("label", el("span", label), el("input", type="checkbox", name=name, value="1"))


def _form(view: View) -> Html:
    return el(
        "form",
        select("period", "Month", [(one, one) for one in view.months], view.month),
        field("customer", "Documents of", view.customer, maxlength="128", placeholder="all customers"),
        el("button", "Show", type="submit", class_="primary"),
        method="get",
        action="/billing",
        class_="filter",
    )


def _link(view: View, after: int) -> str:
    return to("/billing", period=view.month, customer=view.customer, after=after)


def _documents(shell: Shell, view: View) -> Html:
    billing = may_bill(shell)
    rows = [_document(shell, one, billing) for one in view.documents]
    head = ("number", "kind", "customer", "month", "issued", "by", ">due", "against", "download",
            *(("",) if billing else ()))  # fmt: skip
    return table(head, rows, "No invoice was issued yet.", "Invoices and credit notes")


def _document(shell: Shell, one: Kept, billing: bool) -> tuple[Child, ...]:
    invoice, currency = one.kind == INVOICE, currency_of(one.document)
    cells: tuple[Child, ...] = (
        el("code", clean(one.number)),
        "invoice" if invoice else "credit note",
        el("a", clean(one.customer), href=to("/billing", period=one.period, customer=one.customer)),
        one.period,
        moment(one.issued_at_ms),
        clean(one.actor),
        money(one.due_nano if invoice else -one.due_nano, currency),
        clean(one.credits) or "-",
        _downloads(f"/billing/invoices/{quote(one.number, safe='')}", one.number),
    )
    return (*cells, _credit(shell, one.number, currency) if invoice else "") if billing else cells


def _downloads(path: str, what: str) -> Html:
    links: list[Child] = []
    for form in FORMS:
        told = f"{clean(what)} as {form.upper()}"
        links += [" " if links else "", el("a", form.upper(), href=f"{path}/{form}", aria_label=told)]
    return el("span", *links, class_="nowrap")


def _credit(shell: Shell, number: str, currency: str) -> Html:
    form = el(
        "form",
        secret_fields(shell),
        el("input", type="hidden", name="number", value=number),
        field("amount", f"{currency}, tax included; empty: all that is left", maxlength="20", autocomplete="off"),
        field("reason", "Reason", maxlength="200", autocomplete="off"),
        el("button", "Credit for good", type="submit", class_="danger"),
        method="post",
        action="/billing/credit",
        class_="edit",
    )
    return el("details", el("summary", "Credit"), form)


def _rules(rules: Billing) -> Html:
    rows: list[tuple[Child, ...]] = [
        ("customer", clean(one.title or one.name), _where(one.where, one.each), f"tax {one.tax_basis_points / 100:g} %")
        for one in rules.customers
    ]
    for mark in rules.markups:
        adds = [f"{mark.ppm / 10_000:g} %"] if mark.ppm else []
        adds += [f"{money(mark.per_request_nano)} a request"] if mark.per_request_nano else []
        adds += [f"{money(mark.per_mtok_nano)} a million tokens"] if mark.per_mtok_nano else []
        adds += [f"at least {money(mark.min_nano)}"] if mark.min_nano else []
        rows.append(("markup", clean(mark.name), _where(mark.where), ", ".join(adds) or "nothing"))
    for less in rules.discounts:
        takes = [f"{less.ppm / 10_000:g} %"] if less.ppm else []
        takes += [f"{tier.ppm / 10_000:g} % over {money(tier.over_nano)}" for tier in less.tiers]
        takes += [f"{money(less.credit_nano)}"] if less.credit_nano else []
        only = f", {less.period} alone" if less.period else ""
        rows.append(("discount", clean(less.name), _where(less.where), ", ".join(takes) + only))
    return table(("rule", "name", "of requests with", "says"), rows, "None.", "Rules of billing")


def _where(where: tuple[tuple[str, str], ...], each: str = "") -> str:
    said = [f"{name} = {value}" for name, value in where] + ([f"each {each}"] if each else [])
    return clean(", ".join(said)) or "anything"
