"""The limit for each host, counted over all processes that share a board."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from echoserver.serving.board import HOST_WORDS, Board, Row
from echoserver.serving.hosts import contains, plain

_MAPPED = bytes(10) + b"\xff\xff"
_WORD = 8
_PRIME = (1 << 61) - 1

Key = tuple[int, int]


class HostTable:
    """How many connections each host has in one process: a hash table with open addressing, in shared memory.

    Its own process writes to it, under the lock of the board, and the others read it under the same lock. What a
    process leaves behind that dies while it writes is of no use and does no harm until its row is cleared.
    """

    def __init__(self, board: Board, index: int) -> None:
        self._words = board.hosts(index)
        self._size = board.host_count
        self._salt = board.salt

    def count(self, key: Key) -> int:
        """Return how many connections a host has."""
        return self._words[HOST_WORDS * self._find(key) + 2]

    def add(self, key: Key) -> None:
        """Count one more."""
        at = HOST_WORDS * self._find(key)
        self._words[at], self._words[at + 1] = key
        self._words[at + 2] += 1

    def remove(self, key: Key) -> None:
        """Count one less. A host without connections leaves no trace, or ever new ones would fill the table."""
        words, free = self._words, self._find(key)
        words[HOST_WORDS * free + 2] -= 1
        if words[HOST_WORDS * free + 2]:
            return
        # An entry further on that would have stood here, had it been free, moves up: a search ends where it is free.
        at = free
        while words[HOST_WORDS * (at := (at + 1) % self._size) + 2]:
            start = HOST_WORDS * at
            home = self._home((words[start], words[start + 1]))
            if (at - home) % self._size >= (at - free) % self._size:
                words[HOST_WORDS * free : HOST_WORDS * (free + 1)] = words[start : start + HOST_WORDS]
                words[start + 2] = 0
                free = at

    def _home(self, key: Key) -> int:
        return ((key[0] ^ self._salt) * 0x9E3779B97F4A7C15 + (key[1] ^ self._salt)) * self._salt % _PRIME % self._size

    def _find(self, key: Key) -> int:
        """Return where a host stands, or the free place where it would."""
        words, at = self._words, self._home(key)
        while words[HOST_WORDS * at + 2] and (words[HOST_WORDS * at], words[HOST_WORDS * at + 1]) != key:
            at = (at + 1) % self._size
        return at


class SharedHostLimit:
    """What `HostLimit` is for a single process.

    Parameters
    ----------
    row:
        The row of this process.
    limit:
        How many connections a host may have open at once, in all processes together.
    trusted:
        Networks whose hosts may have any number. They are counted all the same.

    """

    def __init__(self, row: Row, limit: int, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._board = row.board
        self._limit = limit
        self._trusted = tuple(trusted)
        self._own = HostTable(row.board, row.index)
        # Those of the other processes, made when they are first seen; guarded by the lock of the board.
        self._tables = {row.index: self._own}

    def enter(self, host: str) -> bool:
        """Count a connection from an address, as `accept` returned it; return false, uncounted, if there are enough."""
        key = key_of(host)
        with self._board.locked():
            if self._count(key) < self._limit:
                self._own.add(key)
                return True
        if not contains(self._trusted, host):
            return False
        with self._board.locked():
            self._own.add(key)
        return True

    def leave(self, host: str) -> None:
        """Undo what `enter` counted."""
        with self._board.locked():
            self._own.remove(key_of(host))

    def _count(self, key: Key) -> int:
        total = 0
        for index in self._board.used():
            if index not in self._tables:
                self._tables[index] = HostTable(self._board, index)
            total += self._tables[index].count(key)
        return total


def key_of(host: str) -> Key:
    """Return an address as two words; an IPv4 address and its mapped form are the same."""
    text = plain(host).partition("%")[0]
    packed = socket.inet_pton(socket.AF_INET6, text) if ":" in text else _MAPPED + socket.inet_aton(text)
    return int.from_bytes(packed[:_WORD]), int.from_bytes(packed[_WORD:])
