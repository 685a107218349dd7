"""Audited: which settings of the config are written into the audit log when they change: quotas, whether keys are asked for,
and whose tokens are taken (S24). Who changed them is what the list of versions says (`stores/versions.py:Entry`).

What was noted last is kept in the data folder, so that a change while the router is stopped is noted at the next start. A crash
between row and file notes a change twice, never not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pointsman.control import keystore, owed
from pointsman.core.policy import Policy
from pointsman.observe.log import LOG
from pointsman.stores.callers import CallersError
from pointsman.stores.choose import Stores
from pointsman.stores.private import PrivateError
from pointsman.stores.versions import Versions, replace

NOTED = Path("configs") / "audited.json"
Settings = dict[str, dict[str, Any]]  # action -> what is set, by name


def settings_of(policy: Policy) -> Settings:
    """Return what of a config is audited, as plain values."""
    quotas: dict[str, Any] = {}
    for quota in policy.quotas:
        name = quota.name if quota.name not in quotas else f"{quota.name} ({len(quotas) + 1})"
        quotas[name] = msgspec.to_builtins(quota)
    listener = policy.listener
    found = {
        "config.quotas": quotas,
        "config.require_keys": {"require_keys": not listener.insecure_open},
        "config.retention": msgspec.to_builtins(listener.retention),
        "config.oidc": {issuer.name: msgspec.to_builtins(issuer) for issuer in listener.issuers},
    }
    made: Settings = json.loads(msgspec.json.encode(found))  # as it comes back from the file
    return made


def changes(before: Settings, after: Settings) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return for each action what was set and what is, as far as they differ."""
    found = {}
    for action, now in after.items():
        was = before.get(action, {})
        names = [name for name in (*was, *(one for one in now if one not in was)) if was.get(name) != now.get(name)]
        if names:
            found[action] = tuple({name: part[name] for name in names if name in part} for part in (was, now))
    return found  # type: ignore[return-value]  # pairs


class Audited:
    """Note changes of what is audited, once a version is served; one thread at a time. `failed` is called for every failure."""

    def __init__(self, stores: Stores, policy: Callable[[], Policy], failed: Callable[[], None]) -> None:
        self._stores, self._policy, self._failed = stores, policy, failed
        self._versions = Versions(stores.data)
        self._stamp: tuple[int, int] | None = None
        self._said = ""

    def step(self) -> None:
        """Look once. What goes wrong is counted, and said once; the next step tries again."""
        try:
            self._step()
            owed.pay(self._stores)
            self._said = ""
        except (CallersError, PrivateError, OSError) as error:
            self._failed()
            if str(error) != self._said:
                self._said = str(error)
                LOG.error("audit_failed", f"the audit log has no row of a changed config yet: {error}")

    def _step(self) -> None:
        stamp = self._look()
        if stamp is None or stamp == self._stamp:
            return
        served, policy = self._versions.entries()[-1:], self._policy()
        if not served or served[0]["version"] != policy.version:
            return  # the other one is on its way
        now, path = settings_of(policy), self._stores.data / NOTED
        before = self._noted(path)
        found = changes(before, now) if before is not None else {}
        if found:
            who = f"{served[0]['author']} ({served[0]['trigger']})"
            with keystore.acting(self._stores, who) as acting:
                for action, (was, becomes) in found.items():
                    acting.note(action, policy.version, becomes, was)
        if before is None or found:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace(path, msgspec.json.encode(now))
        self._stamp = stamp

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._versions.lines)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    @staticmethod
    def _noted(path: Path) -> Settings | None:
        """Return what was noted last; None: nothing was, so that what is set now is where changes begin."""
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
