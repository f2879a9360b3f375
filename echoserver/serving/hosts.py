"""How many connections one host may have, so that it can't take the slots of all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Lock


class HostLimit:
    """Counts the connections of each host.

    It only keeps the server fair: how many connections may be open in total is for the slots to say.

    Parameters
    ----------
    limit:
        How many connections a host may have open at once.
    trusted:
        Networks whose hosts may have any number. They are counted all the same.

    """

    def __init__(self, limit: int, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._rule = limit, tuple(trusted)  # replaced as a whole
        # Guards the counts: the acceptor calls `enter`, or the serving thread where a proxy names the host, and the
        # thread that ends a connection calls `leave`.
        self._lock = Lock()
        self._open: Counter[str] = Counter()

    def change(self, limit: int, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        """Change the limit; 0 is none. A host that has more by now keeps them."""
        self._rule = limit, tuple(trusted)

    def enter(self, host: str) -> bool:
        """Count a connection from an address, as `accept` returned it; return false, uncounted, if there are enough."""
        key = plain(host)
        limit, trusted = self._rule
        with self._lock:
            if not limit or self._open[key] < limit:
                self._open[key] += 1
                return True
        # Outside the lock: there were enough at the time of the look, and a trusted host is counted in any case.
        if not contains(trusted, host):
            return False
        with self._lock:
            self._open[key] += 1
        return True

    def leave(self, host: str) -> None:
        """Undo what `enter` counted."""
        key = plain(host)
        with self._lock:
            self._open[key] -= 1
            if not self._open[key]:  # or ever new hosts would fill the memory
                del self._open[key]


def contains(networks: Sequence[IPv4Network | IPv6Network], host: str) -> bool:
    """Return whether an address, as `accept` returned it, is in one of the networks."""
    addresses = {ip_address(plain(host))}
    # A network may be written either way.
    addresses |= {IPv6Address(f"::ffff:{address}") for address in addresses if address.version == 4}
    return any(address in network for network in networks for address in addresses)


def plain(host: str) -> str:
    """Return the IPv4 address in an IPv4-mapped one (RFC 4291, 2.5.5.2), which a socket of both families reports."""
    if ":" not in host:
        return host
    mapped = IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)
