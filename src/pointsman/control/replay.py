"""Replay: decisions made again from what was recorded, under the policy of their config version."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from pointsman.config.expressions import ExpressionError, ruleset
from pointsman.core.decide import Decision
from pointsman.core.entry import Admitted, Filed, decided_by, decision_of
from pointsman.core.facts import Facts, Ruleset
from pointsman.core.footprint import Signals
from pointsman.core.head import Way, head, head_of, way_of
from pointsman.core.options import Options, options_of
from pointsman.core.policy import Listener, Policy
from pointsman.core.secret import Secret, secret_from_pipe
from pointsman.stores.ledger import Decided, Entry, LedgerAway, Made, Place, Writer, decision_row
from pointsman.stores.price_history import note_prices
from pointsman.stores.versions import replace
from pointsman.strategies.plugins import strategies_of

OWED = "policies-owed"  # folder in the data folder
MOST_WAYS = 1_000  # of one version, kept ready
MOST_VERSIONS = 16  # kept ready; others are read from the ledger again

UNKNOWN: Made = (None, None, {})


class Version(msgspec.Struct, frozen=True):
    """Hold one config version as decisions see it."""

    options: dict[str, Options]
    places: dict[str, Place]
    ways: dict[tuple[str, str], Way]  # by the model that was asked for and the route

    def way_of(self, asked_model: str, route: str) -> Way:
        """Return the Way of a request, kept for the next. Raise KeyError when the route is not in the policy."""
        made = way_of(asked_model, route, self.options)
        if len(self.ways) >= MOST_WAYS:  # models that are asked for are the caller's words
            self.ways.clear()
        self.ways[asked_model, route] = made
        return made


class Policies:
    """Keep every policy that decisions were made under, in the ledger, so that they can be made again later. `owed`: the folder
    for those that could not be kept because the ledger was away; they are kept before rows are booked again."""

    def __init__(self, ledger: Writer, owed: Path | None = None) -> None:
        self._ledger, self._owed = ledger, owed
        self._versions: OrderedDict[str, Version | None] = OrderedDict()

    def keep(self, policy: Policy) -> None:
        """Store what decides in a policy; credentials, client keys and addresses are left out (S7). Raise LedgerError."""
        bare = msgspec.structs.replace(policy, providers={}, keys=(), listener=Listener())
        blob = msgspec.msgpack.encode(bare, enc_hook=_hidden)
        try:
            self._ledger.keep_policy(policy.version, blob)
            self._note_prices(policy, time.time_ns() // 1_000_000)
        except LedgerAway:
            if self._owed is None:
                raise
            self._owed.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace(self._owed / policy.version, blob)
        self._versions.pop(policy.version, None)

    def settle(self) -> None:
        """Keep what is owed. Raise LedgerError, OSError."""
        if self._owed is None or not self._owed.is_dir():
            return
        for path in sorted(self._owed.iterdir()):
            if not path.name.startswith("."):  # half made
                blob, at_ms = path.read_bytes(), path.stat().st_mtime_ns // 1_000_000
                self._ledger.keep_policy(path.name, blob)
                with contextlib.suppress(msgspec.MsgspecError):
                    self._note_prices(msgspec.msgpack.decode(blob, type=Policy, dec_hook=secret_from_pipe), at_ms)
                self._versions.pop(path.name, None)
                path.unlink(missing_ok=True)

    def _note_prices(self, policy: Policy, at_ms: int) -> None:
        with self._ledger.changing() as db:
            note_prices(db, policy, at_ms)

    def decided(self, admitted: Admitted) -> Decided | None:
        """Return the decision of an admitted request; None when its policy or its route is not known here any more."""
        version = self._version(admitted.config_version)
        options = version.options.get(admitted.request.route) if version is not None else None
        if version is None or options is None:
            return None
        if len(admitted.snapshot.states) != len(options.options):
            return None
        try:
            return Decided(*decision_of(admitted, version.options))
        except (ValueError, LookupError, ArithmeticError):  # it was made by other code
            return None

    def booked(self, filed: Sequence[Filed | None]) -> list[Made]:
        """Return what is booked of the decisions of requests, one for each; UNKNOWN where there is no Admitted record."""
        made: list[Made] = []
        version, name = None, None
        for one in filed:
            if one is None:
                made.append(UNKNOWN)
                continue
            if one.snapshot.version != name:
                name = one.snapshot.version
                version = self._version(name)
            if version is None:
                made.append(UNKNOWN)
                continue
            try:
                way = version.ways.get((one.asked_model, one.request.route))
                if way is None:
                    way = version.way_of(one.asked_model, one.request.route)
                if way.plugin:  # another package's, which may be gone when somebody asks
                    made.append(self._kept(one, version))
                else:
                    made.append((head(one, way), None, version.places))
            except (ValueError, LookupError, ArithmeticError):  # it was made by other code
                made.append((None, None, version.places))
        return made

    def _kept(self, filed: Filed, version: Version) -> Made:
        """Return what is booked of a decision that is kept as it was made."""
        made = self.decided(filed.whole())
        return (
            (None, None, version.places) if made is None else (made.head, decision_row(filed.id, made), version.places)
        )

    def signals(self, admitted: Filed) -> Signals | None:
        """Return what the route of an admitted request makes of how people go on; None when it is not known any more."""
        version = self._version(admitted.config_version)
        options = version.options.get(admitted.request.route) if version is not None else None
        return None if options is None else options.route.signals

    def _version(self, name: str) -> Version | None:
        if name not in self._versions:
            self._versions[name] = _read(self._ledger.policy(name))
            if len(self._versions) > MOST_VERSIONS:
                self._versions.popitem(last=False)
        return self._versions[name]


def decision_again(entry: Entry) -> Decision | None:
    """Return the Decision of an entry, made again where it is kept as what it was made from; None when it is not known, or
    the code that made it was another: then it would not be the one that its row tells of."""
    if entry.recorded is None or entry.policy is None:
        return entry.decision
    try:
        version = _remembered(entry.policy)
        if version is None or len(entry.recorded.snapshot.states) != len(version.options[entry.recorded.route].options):
            return None
        decision, hold_nano = decided_by(entry.recorded, version.options)
    except (ValueError, LookupError, ArithmeticError):
        return None
    told, row = head_of(decision, hold_nano), entry.request
    same = all(row[name] == getattr(told, name) for name in ("strategy", "planned", "reason", "probability", "path"))
    return decision if same else None


def _rules_of(whens: tuple[str, ...]) -> Ruleset:
    """Return the Ruleset of conditions; one that cannot decide when they name a fact of a plug-in that is not here."""
    try:
        return ruleset(whens)
    except ExpressionError as error:
        message = str(error)

        def match(facts: Facts) -> int:
            raise LookupError(message)

        return Ruleset(frozenset(), match)


def _hidden(value: object) -> str:
    """Encode a Secret that a policy has by default as nothing."""
    if isinstance(value, Secret):
        return ""
    raise NotImplementedError(type(value).__name__)


def _read(blob: bytes | None) -> Version | None:
    if blob is None:
        return None
    try:
        policy = msgspec.msgpack.decode(blob, type=Policy, dec_hook=secret_from_pipe)
    except msgspec.MsgspecError:
        return None
    return Version(
        options=options_of(policy, strategies_of(policy, again=True), _rules_of),
        places={
            d.name: Place(d.provider, d.wire.model, d.price.version if d.price is not None else "")
            for d in policy.deployments
        },
        ways={},
    )


_remembered = lru_cache(maxsize=4)(_read)  # for those who ask, whose questions come together
