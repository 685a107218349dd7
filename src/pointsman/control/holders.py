"""Holders: what the holder of an issuer's token may do on the admin listener. Without a mapped role: nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

from pointsman.control import keystore
from pointsman.control.endpoints import Who
from pointsman.core.issuer import Grant, Issuer
from pointsman.core.keys import digest
from pointsman.core.tokens import Holder, NoRight
from pointsman.stores.callers import Role
from pointsman.stores.choose import Stores
from pointsman.stores.tokens import Tokens

_ROLES: dict[Grant, tuple[Role, bool]] = {  # role, and whether it is bound to the organisation of its holder
    "admin": ("admin", False),
    "viewer": ("viewer", False),
    "organisation_admin": ("admin", True),
    "organisation_viewer": ("viewer", True),
}


class Holders:
    """Tell who shows a token on the admin listener. `issuers` gives those of the present config."""

    def __init__(self, stores: Stores, issuers: Callable[[], tuple[Issuer, ...]]) -> None:
        self._stores, self._issuers = stores, issuers
        self._tokens = Tokens(stores.data, "admin")
        self._adopted: tuple[Issuer, ...] = ()
        self._one_at_a_time = threading.Lock()

    def who(self, token: bytes) -> Who:
        """Return who has a token. Raise TokenError when it is not taken, NoRight when it grants nothing, and CallersError or
        PrivateError when the key store cannot be asked for the organisation."""
        with self._one_at_a_time:
            issuers = self._issuers()
            if issuers != self._adopted:
                self._tokens.adopt(issuers)
                self._adopted = issuers
            now_ms = time.time_ns() // 1_000_000
            self._tokens.look(now_ms)
            try:
                holder = self._tokens.find(token, digest(token), now_ms)
            finally:
                self._tokens.look(now_ms)  # a key that nobody knows is asked for at once
        return self._granted(holder)

    def _granted(self, holder: Holder) -> Who:
        if holder.grant is None:
            raise NoRight("the token is good, but grants nothing here")
        role, bound = _ROLES[holder.grant]
        organisation = ""
        if bound:
            organisation = self._organisation(holder.key.organisation)
            if not organisation:
                raise NoRight("the token is good, but its organisation is not in the key store")
        return Who(holder.key.name, role, organisation)

    def _organisation(self, name: str) -> str:
        """Return the id of the organisation with this name; "" when there is none."""
        if not name or not self._stores.has_callers():
            return ""
        with closing(keystore.opened(self._stores)) as store:
            return store.organisation(name)
