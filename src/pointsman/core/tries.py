"""Tries: how often addresses have shown a wrong credential (S2, S6). Touched only by who fails."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address, ip_network

TRIES = 10  # failed ones that an address has at once
TRY_S = 6.0  # after which it has one more
MOST_ADDRESSES = 1024  # whose failed tries are counted, the latest; IPv6 by /64


class Tries:
    """Count failed tries by address: each has TRIES, and one more every TRY_S. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (tries spent, when)

    def wait_s(self, address: str) -> float:
        """Return how long an address has to wait before it may try; 0.0: not at all."""
        return max(0.0, (self._now(address) - TRIES + 1) * TRY_S)

    def failed(self, address: str) -> None:
        """Count one more."""
        self._spent[address] = self._now(address) + 1.0, self._clock()
        self._spent.move_to_end(address)
        if len(self._spent) > MOST_ADDRESSES:
            self._spent.popitem(last=False)

    def _now(self, address: str) -> float:
        spent, when_s = self._spent.get(address, (0.0, 0.0))
        return max(0.0, spent - (self._clock() - when_s) / TRY_S)


def network_of(host: str) -> str:
    """Return what an address is counted as: an IPv6 one as its /64, which one client has; "" for what is none."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
