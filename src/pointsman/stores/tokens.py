"""Tokens: check the tokens of issuers by the keys that were published of them, and remember those that are good.

A signature is checked once for each token and process; from then on a token costs a look-up, like a key. Nothing here waits:
keys are fetched by the control process, and read from a file when that has changed. The library is loaded only where the
config names an issuer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pointsman.core.issuer import CURVES, Issuer
from pointsman.core.tokens import Holder, NoKeys, Parsed, TokenError, holder_of, parsed
from pointsman.stores import issuers_file
from pointsman.stores.issuers_file import IssuerKeys, PublishedError

MOST_REMEMBERED = 10_000  # tokens
MOST_AGE_MS = 24 * 3_600_000  # of keys whose issuer cannot be asked
MOST_KEYS = 64  # of one issuer
LEAST_RSA_BITS = 2_048
_MEMBERS = ("kty", "kid", "alg", "use", "n", "e", "crv", "x", "y")  # of a JSON Web Key; none is secret
_MOST_MEMBER = 4_096


class _Usable(NamedTuple):
    kid: str | None
    algorithms: frozenset[str]
    key: Any


class Tokens:
    """Hold the issuers of the present config, their keys, and the tokens that are good. `who`: a name for what asks for keys
    of its own accord; used by one thread at a time."""

    def __init__(self, data: Path, who: str) -> None:
        self.failure = ""  # why what was published cannot be read; "": it can
        self._data, self._who = data, who
        self._issuers: dict[str, list[Issuer]] = {}
        self._published: list[IssuerKeys] = []
        self._keys: dict[str, tuple[int, tuple[_Usable, ...]]] = {}  # name of an issuer -> until when, and its keys
        self._stamp: tuple[int, ...] | None = None
        self._good: OrderedDict[bytes, Holder] = OrderedDict()
        self._ends_ms: float = float("inf")
        self._dropped = False
        self._wanted: set[str] = set()

    def adopt(self, issuers: Sequence[Issuer]) -> None:
        """Take over the issuers of a config version; every token is checked anew."""
        self._issuers = {}
        for issuer in issuers:
            self._issuers.setdefault(issuer.url, []).append(issuer)
        self._take()

    def look(self, now_ms: int) -> bool:
        """Take over what was published since the last look, and end what has ended: to be called every second or so. Return
        whether somebody who was let in may have to be looked at again."""
        if self._issuers:
            self._news()
        if self._wanted:
            self._ask()
        changed, self._dropped = self._dropped, False
        if now_ms >= self._ends_ms:
            changed = True
            self._good = OrderedDict((mark, one) for mark, one in self._good.items() if one.until_ms > now_ms)
            self._ends_ms = min((one.until_ms for one in self._good.values()), default=float("inf"))
        return changed

    def find(self, token: bytes, mark: bytes, now_ms: int) -> Holder:
        """Return who has a token; `mark` is a digest of it. Raise TokenError when nobody has it who may come in."""
        found = self._good.get(mark)
        if found is not None and found.until_ms > now_ms:
            self._good.move_to_end(mark)
            return found
        said = parsed(token)
        issuers = self._issuers.get(said.claims.get("iss", "")) if isinstance(said.claims.get("iss"), str) else None
        if not issuers:
            raise TokenError("the token is of an issuer that is not known here")
        holder = self._checked(issuers, said, now_ms)
        self._good[mark] = holder
        self._ends_ms = min(self._ends_ms, holder.until_ms)
        if len(self._good) > MOST_REMEMBERED:
            self._good.popitem(last=False)
            self._dropped = True  # its end is not watched any more
        return holder

    def _checked(self, issuers: Sequence[Issuer], said: Parsed, now_ms: int) -> Holder:
        """Return the holder of a token by the first entry of its issuer that takes it. Raise what the last one raised."""
        failure = TokenError("the token is not taken")
        for issuer in issuers:
            try:
                self._check_signature(issuer, said, now_ms)
                holder = holder_of(issuer, said.claims, now_ms)
            except TokenError as error:
                failure = error
                continue
            age_ends_ms = self._keys[issuer.name][0]
            return holder._replace(until_ms=min(holder.until_ms, age_ends_ms))
        raise failure

    def _check_signature(self, issuer: Issuer, said: Parsed, now_ms: int) -> None:
        import jwt

        if said.algorithm not in issuer.algorithms:
            raise TokenError("the token is signed with an algorithm that is not taken from its issuer")
        keys = self._known(issuer, said.kid, now_ms)
        fitting = [one for one in keys if said.kid in (None, one.kid) and said.algorithm in one.algorithms]
        if len(fitting) != 1:
            raise TokenError("the token does not say with which key of its issuer it is signed (`kid`, `alg`)")
        algorithm = jwt.get_algorithm_by_name(said.algorithm)
        if not algorithm.verify(said.signed, fitting[0].key, said.signature):
            raise TokenError("the signature of the token does not hold")

    def _known(self, issuer: Issuer, kid: str | None, now_ms: int) -> tuple[_Usable, ...]:
        """Return the keys of an issuer, among which is that of the name; if not, look whether there are new ones, and ask for
        them. Raise TokenError, NoKeys."""
        for again in (True, False):
            until_ms, keys = self._keys.get(issuer.name, (0, ()))
            if until_ms > now_ms and (kid is None or any(one.kid == kid for one in keys)):
                return keys
            if not again or not self._news():
                break
        self._wanted.add(issuer.name)
        if until_ms <= now_ms:
            raise NoKeys("the keys of the token's issuer cannot be had now")
        raise TokenError("the token is signed with a key that its issuer has not published yet, or no more")

    def _news(self) -> bool:
        """Take over what was published since the last look; return whether something was."""
        stamp = issuers_file.stamp(self._data)
        if stamp is None or stamp == self._stamp:
            return False
        self._stamp = stamp
        self._read()
        return True

    def _read(self) -> None:
        before = self._published
        try:
            self._published, self.failure = issuers_file.read(self._data), ""
        except PublishedError as error:
            self.failure = str(error)
            return
        if [msgspec.structs.replace(one, fetched_ms=0) for one in self._published] == [
            msgspec.structs.replace(one, fetched_ms=0) for one in before
        ]:
            self._prolong()
        else:
            self._take()

    def _prolong(self) -> None:
        """Take over when the same keys were had again."""
        times = {(one.url, one.source): one.fetched_ms for one in self._published}
        for issuer in (one for issuers in self._issuers.values() for one in issuers):
            if issuer.name in self._keys:
                fetched_ms = times[issuer.url, issuer.jwks_url]
                self._keys[issuer.name] = fetched_ms + MOST_AGE_MS, self._keys[issuer.name][1]

    def _take(self) -> None:
        """Make keys of what was published; every token is checked anew."""
        made: dict[str, tuple[int, tuple[_Usable, ...]]] = {}
        for issuer in (one for issuers in self._issuers.values() for one in issuers):
            for found in self._published:
                if (found.url, found.source) == (issuer.url, issuer.jwks_url):
                    made[issuer.name] = found.fetched_ms + MOST_AGE_MS, usable(found.keys)
        self._keys = made
        self._good.clear()
        self._ends_ms, self._dropped = float("inf"), True

    def _ask(self) -> None:
        names, self._wanted = sorted(self._wanted), set()
        try:
            issuers_file.want(self._data, self._who, names)
        except OSError:
            return  # the schedule brings them too


def usable(keys: Sequence[Mapping[str, object]]) -> tuple[_Usable, ...]:
    """Return the keys of a JSON Web Key Set that can check a signature; the others are passed over. Never one that is
    symmetric, for something else, or too short."""
    import jwt
    from cryptography.exceptions import UnsupportedAlgorithm

    made: list[_Usable] = []
    for given in keys[:MOST_KEYS]:
        algorithms = _algorithms(given)
        if not algorithms or given.get("use") not in (None, "sig"):
            continue
        try:
            key = jwt.PyJWK(public(given), min(algorithms)).key
        except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
            continue
        if getattr(key, "key_size", LEAST_RSA_BITS) < LEAST_RSA_BITS and given["kty"] == "RSA":
            continue
        kid = given.get("kid")
        made.append(_Usable(kid if isinstance(kid, str) else None, algorithms, key))
    return tuple(made)


def public(given: Mapping[str, object]) -> dict[str, str]:
    """Return the members of a JSON Web Key that are kept: never those of a private one."""
    return {
        name: value for name in _MEMBERS if isinstance(value := given.get(name), str) and len(value) <= _MOST_MEMBER
    }


def _algorithms(given: Mapping[str, object]) -> frozenset[str]:
    """Return the algorithms that a key may be used with: by its kind, and by what it says itself."""
    if given.get("kty") == "RSA":
        fitting = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
    else:
        kinds = {"EC": ("P-256", "P-384", "P-521"), "OKP": ("Ed25519",)}
        curve = given.get("crv")
        known = isinstance(curve, str) and curve in kinds.get(str(given.get("kty")), ())
        fitting = frozenset({CURVES[str(curve)]}) if known else frozenset()
    said = given.get("alg")
    return fitting if said is None else fitting & {str(said)}
