"""How many connections one host may have, so that it can't take the places of all the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Lock


class HostLimit:
    """Counts the connections of each host.

    It guards nothing but fairness: how many may be open in all is the semaphore's to say.

    Parameters
    ----------
    limit:
        How many connections a host may have open at once.
    trusted:
        Addresses and networks that may have any number; they are counted all the same.

    """

    def __init__(self, limit: int, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._limit = limit
        self._trusted = tuple(trusted)
        # Guards the counts: the acceptor enters, whichever thread ends a connection leaves.
        self._lock = Lock()
        self._open: Counter[str] = Counter()

    def enter(self, host: str) -> bool:
        """Count a connection from this address, as `accept` gave it, unless that is one too many; return whether so."""
        key = _plain(host)
        with self._lock:
            if self._open[key] < self._limit:
                self._open[key] += 1
                return True
        # Only the acceptor adds, so the count can't have grown meanwhile; and who is trusted enters in any case.
        if not self._trusts(host):
            return False
        with self._lock:
            self._open[key] += 1
        return True

    def leave(self, host: str) -> None:
        """Take back what `enter` counted."""
        key = _plain(host)
        with self._lock:
            self._open[key] -= 1
            if not self._open[key]:  # a stream of hosts must not fill the memory
                del self._open[key]

    def _trusts(self, host: str) -> bool:
        addresses = {ip_address(_plain(host))}
        # A network may have been written either way.
        addresses |= {IPv6Address(f"::ffff:{address}") for address in addresses if address.version == 4}
        return any(address in network for network in self._trusted for address in addresses)


def _plain(host: str) -> str:
    """Return an IPv4-mapped address (RFC 4291, 2.5.5.2), as a socket of both families has it, as the IPv4 address."""
    if ":" not in host:
        return host
    mapped = IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)
