"""Alerts: what a person has to mend, said once on standard error and counted: a deployment is ejected for an end that time
alone does not heal (faults 5, 17, 19, 20), and when it is back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pointsman.core.health import FATAL, State
from pointsman.core.outcome import Kind
from pointsman.gateway.complaints import COMPLAINTS

if TYPE_CHECKING:
    from pointsman.gateway.world import Place, World

RETURNED = "returned"


class Alerts:
    """Remember which deployments are out, and tell when that changes. `counts`: deployment and alert joined by US (0x1f)."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._out: dict[Place, str] = {}  # why

    def failed(self, world: World, at: int, kind: Kind, open_ms: float) -> None:
        """Tell that the deployment at `at` is ejected for `open_ms`; once for each reason until it is back. The provider's own
        words are left to the ledger: they may quote a part of the key."""
        place = world.endpoints[at].place
        if kind in FATAL and self._out.get(place) != kind:
            self._out[place] = kind.value
            self._say(world, at, kind.value, means=kind.means, for_s=round(open_ms / 1000))

    def look(self, world: World, states: Sequence[State]) -> None:
        """Tell which of the deployments that were out have answered again; forget those that are gone."""
        if not self._out:
            return
        places = [endpoint.place for endpoint in world.endpoints]
        self._out = {place: why for place, why in self._out.items() if place in places}
        for at, state in enumerate(states):
            if not state.ejections and (why := self._out.pop(places[at], "")):
                self._say(world, at, RETURNED, after=why)

    def _say(self, world: World, at: int, what: str, **more: str | int) -> None:
        deployment = world.policy.deployments[at]
        key = f"{deployment.name}\x1f{what}"
        self.counts[key] = self.counts.get(key, 0) + 1
        told = {"alert": what, "deployment": deployment.name, "provider": deployment.provider, **more}
        COMPLAINTS.alert(told)
