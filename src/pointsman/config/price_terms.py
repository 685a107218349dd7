"""Price terms: the section `prices`, and what each deployment costs by it: a written price over contracts over the catalog."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from pointsman.config import catalog, prices
from pointsman.config import price_schema as schema
from pointsman.config.addresses import issuer_url_fault
from pointsman.config.build import Build
from pointsman.config.fields import SecretFile
from pointsman.config.problem import Place
from pointsman.core import contracts
from pointsman.core.contracts import Contract, PriceSettings
from pointsman.core.exchange import USD, Rate, moment, rate_at
from pointsman.core.pricing import Price, Window
from pointsman.core.secret import Secret

SOON_DAYS = 60
FINE = "has a figure finer than a billionth of a dollar."


class Terms:
    """Hold contracts and rates of exchange, and say what a deployment costs at the moment of the Build. `moments` are those at
    which what was asked for is another (Unix milliseconds, past ones too)."""

    def __init__(self, build: Build, given: schema.Prices) -> None:
        self.moments: set[int] = set()
        self._build = build
        self.rates = rates_of(build, given)
        self._met: set[str] = set()  # contracts that cover a deployment with a list price
        self.contracts = tuple(
            made for index, one in enumerate(given.contracts) if (made := self._contract(index, one)) is not None
        )

    def change_ms(self) -> int:
        """Return the next moment at which a price is another; 0: none is known."""
        return min((at for at in self.moments if at > self._build.now_ms), default=0)

    def written(self, given: schema.Price, at: Place) -> Price | None:
        """Return a price as it is written, in dollars; what is wrong with it is noted."""
        build, rate = self._build, self._rate(given.currency, at)
        if rate is None:
            return None
        price = _of(given.model_dump(exclude={"windows", "currency"}), rate)
        windows: list[Window] = []
        taken: set[int] = set()
        for index, wanted in enumerate(given.windows):
            here = (*at, "windows", index)
            found = _of(wanted.model_dump(exclude={"start", "until"}), rate)
            if found is None:
                build.problem(here, FINE)
                continue
            window = Window(wanted.start, wanted.until, found.rates)
            minutes = {minute for minute in range(24 * 60) if window.holds(minute)}
            if wanted.start == wanted.until:
                build.problem(here, "begins when it ends.")
            elif minutes <= taken:
                build.problem(here, "is dead: the windows above it hold at all its times.")
            taken |= minutes
            windows.append(window)
        if price is None:
            build.problem(at, FINE)
            return None
        return prices.versioned(price.rates, price.source, windows=tuple(windows), note=price.note)

    def listed(self, found: catalog.Known, place: contracts.Place) -> Price | None:
        """Return what a deployment without a written price costs: the catalog's price, as contracts change it."""
        if found.price_changes:
            self.moments.add(_begin_ms(date.fromisoformat(found.price_changes)))
        self._met |= {one.name for one in self.contracts if one.covers(place)}
        self.moments.update(contracts.moments_of(self.contracts, place))
        return contracts.agreed(found.price, self.contracts, place, self._build.now_ms)

    def warn_of_idle(self) -> None:
        """Note contracts that change nothing."""
        for index, one in enumerate(self.contracts):
            at = ("prices", "contracts", index)
            if one.name not in self._met:
                self._build.warn(at, "no deployment with a list price is covered by it.")
            elif one.ends_ms is not None and one.ends_ms <= self._build.now_ms:
                self._build.warn(at, f"ended at {moment(one.ends_ms)}.")

    def _rate(self, currency: str, at: Place) -> Rate | None:
        known = sorted({USD, *(one.currency for one in self.rates)})
        if currency not in known:
            self._build.unknown((*at, "currency"), "currency", currency, known)
            return None
        found = rate_at(self.rates, currency, self._build.now_ms)
        self.moments.update(one.begins_ms for one in self.rates if one.currency == currency)
        if found is None:
            self._build.problem((*at, "currency"), f"has no rate of exchange yet at {moment(self._build.now_ms)}.")
        return found

    def _contract(self, index: int, given: schema.Contract) -> Contract | None:
        build, at = self._build, ("prices", "contracts", index)
        if (given.off is None) is (given.price is None):
            build.problem(at, "expected either off or price.")
            return None
        if given.start is not None and given.until is not None and given.until <= given.start:
            build.problem((*at, "until"), "ends before it begins.")
        if given.provider is not None and given.provider not in self._providers():
            build.unknown((*at, "provider"), "provider", given.provider, self._providers())
        price = self.written(given.price, (*at, "price")) if given.price is not None else None
        if given.price is not None and price is None:
            return None
        if price is not None and price.windows and given.service_tier not in (None, contracts.STANDARD):
            build.problem((*at, "price", "windows"), "are for the standard service tier only.", key=True)
        return Contract(
            name=given.name,
            provider=given.provider or "",
            model=given.model or "",
            region=given.region or "",
            service_tier=given.service_tier or "",
            off_ppm=given.off or 0,
            price=price,
            begins_ms=given.start or 0,
            ends_ms=given.until,
            commitment_nano=given.committed_usd,
        )

    def _providers(self) -> set[str]:
        deployments: Any = self._build.document.data.get("deployments")
        used = deployments.values() if isinstance(deployments, dict) else ()
        return {*self._build.named("providers"), *(str(one.get("provider")) for one in used if isinstance(one, dict))}


def compile_settings(build: Build, given: schema.Prices, terms: Terms) -> PriceSettings:
    """Return what the control process needs of the section."""
    names = [one.name for one in given.contracts]
    for index, name in enumerate(names):
        if name in names[:index]:
            at = ("prices", "contracts", index, "name")
            build.problem(at, f"{build.document.shown(at, name)} is the name of two.")
    origin = _origin(build, given.origin) if given.origin is not None else None
    if given.refresh is not None and given.origin is None:
        build.problem(("prices", "refresh"), "has nowhere to look.", "Set `from`.", key=True)
    return PriceSettings(contracts=terms.contracts, origin=origin, refresh_s=given.refresh or 0.0, accept=given.accept)


def price_of(build: Build, terms: Terms, name: str, given: Any, found: catalog.Known) -> Price | None:
    """Return what a deployment costs; what is doubtful is noted."""
    at: Place = ("deployments", name)
    if given.price is not None:
        return terms.written(given.price, (*at, "price"))
    price = terms.listed(found, contracts.Place(given.provider, given.model or name, given.region or ""))
    if price is None:
        build.warn(at, "unpriced: nothing is known of what it costs.", "Write `price`.", key=True)
    elif found.price_changes and (date.fromisoformat(found.price_changes) - build.today).days <= SOON_DAYS:
        build.warn(at, f"its price changes on {found.price_changes}.", "The router follows on that day.", key=True)
    return price


def rates_of(build: Build, given: schema.Prices) -> tuple[Rate, ...]:
    """Return the rates of exchange; what is wrong with them is noted."""
    made = []
    for currency, versions in given.exchange.items():
        if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
            build.problem(("prices", "exchange", currency), "expected a currency of three letters, like EUR.", key=True)
        if currency == USD:
            build.problem(("prices", "exchange", currency), "is what rates are told in.", key=True)
        begins: set[int] = set()
        for index, one in enumerate(versions):
            at: Place = ("prices", "exchange", currency, index)
            if not one.rate:
                build.problem((*at, "rate"), "must be more than 0.")
            if (one.start or 0) in begins:
                build.problem(at, "begins with another of this currency.")
            begins.add(one.start or 0)
            made.append(Rate(currency, one.rate or 1, one.start or 0))
    return tuple(made)


def _of(figures: dict[str, float | None], rate: Rate) -> Price | None:
    if rate.currency == USD:
        return prices.from_usd(figures, "config")
    return prices.from_currency(figures, f"config {rate.currency}", rate)


def _origin(build: Build, given: str | SecretFile) -> Secret | None:
    at = ("prices", "from")
    text = build.secret(at, given)
    if text is None:
        return None
    if "://" not in text:
        return Secret(str(build.beside / text))
    fault, hint = issuer_url_fault(text)
    if fault:
        build.problem(at, fault.replace("could let anybody in", "could change prices"), hint)
        return None
    return Secret(text)


def _begin_ms(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp() * 1000)
