"""How many connections each host has, in memory that processes share."""

from __future__ import annotations

import socket

from echoserver.serving.hosts import plain

_MAPPED = bytes(10) + b"\xff\xff"
_WORD = 8
HOST_WORDS = 3
"""For each host: the address in two words, and how many connections it has."""
_PRIME = (1 << 61) - 1

Key = tuple[int, int]


class HostTable:
    """How many connections each host has in one process: a hash table with open addressing, in shared memory.

    Its own process writes to it, under the lock of the board, and the others read it under the same lock. What a
    process leaves behind that dies while it writes is of no use and does no harm until its row is cleared.

    Parameters
    ----------
    words:
        The memory: `HOST_WORDS` words for each entry.
    salt:
        Makes it hard to choose addresses that meet.

    """

    def __init__(self, words: memoryview[int], salt: int) -> None:
        self._words = words
        self._size = len(words) // HOST_WORDS
        self._salt = salt

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


def key_of(host: str) -> Key:
    """Return an address as two words; an IPv4 address and its mapped form are the same."""
    text = plain(host).partition("%")[0]
    packed = socket.inet_pton(socket.AF_INET6, text) if ":" in text else _MAPPED + socket.inet_aton(text)
    return int.from_bytes(packed[:_WORD]), int.from_bytes(packed[_WORD:])
