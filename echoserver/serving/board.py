"""What several server processes count together: a table in memory that they share, with a row for each process.

The supervisor makes the board before it forks. Each word of a row is written by the process that has the row and by no
other, so that the death of a process, at whatever instruction, leaves nothing half done in what the others use: the
supervisor reads what the row says and clears it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network
from threading import Lock

from echoserver.observe.metrics import COUNTERS, counters_of
from echoserver.serving.host_table import HOST_WORDS, HostTable, Key, key_of
from echoserver.serving.hosts import contains

_WORD = 8
_FORMAT = 1
# The words at the beginning: what follows them, and what holds for all processes.
_VERSION, _ROWS, _HOSTS, _SALT, _LIMIT = range(5)
_HEADER = 8
_LEAST_HOSTS = 1 << 16


class Board:
    """The table. It also is the lock that all processes take before they add to it.

    Parameters
    ----------
    descriptor:
        The memory, as `Board.new` makes it.
    freed:
        An eventfd(2), by which a process that gives a place back wakes those that wait for one.

    """

    def __init__(self, descriptor: int, freed: int) -> None:
        self.descriptor = descriptor
        self.freed = freed
        self._map = mmap.mmap(descriptor, 0)
        self._words = memoryview(self._map).cast("B").cast("Q")
        rows = self._words[_ROWS]
        self.host_count = self._words[_HOSTS]
        self._salt = self._words[_SALT]
        columns = [self._words[_HEADER + rows * index : _HEADER + rows * (index + 1)] for index in range(3)]
        self._used, self.taken, self.waiting = columns
        self._counters_at = _HEADER + 3 * rows
        self._hosts_at = self._counters_at + rows * COUNTERS
        # A record lock belongs to the process as a whole, so this one is for its threads. The kernel releases a record
        # lock when its holder dies (fcntl(2)).
        self.lock = Lock()
        """The part of the lock that keeps the threads of this process apart, and guards what they write to its row."""

    @classmethod
    def new(cls, rows: int, limit: int, *, least_hosts: int = _LEAST_HOSTS) -> Board:
        """Make a board.

        Parameters
        ----------
        rows:
            How many processes there may be at once.
        limit:
            How many connections may be open, in all processes together.
        least_hosts:
            How many entries a table of hosts has at least.

        """
        # Twice as many as there can be hosts, so that a search is short. Memory is used only for what is written to.
        hosts = max(least_hosts, 1 << (2 * limit - 1).bit_length())
        descriptor = os.memfd_create("echoserver")
        os.ftruncate(descriptor, _WORD * (_HEADER + rows * (3 + COUNTERS + hosts * HOST_WORDS)))
        header = [_FORMAT, rows, hosts, int.from_bytes(os.urandom(_WORD)) | 1, limit]
        os.pwrite(descriptor, b"".join(word.to_bytes(_WORD, sys.byteorder) for word in header), 0)
        return cls(descriptor, os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    @property
    def limit(self) -> int:
        """How many connections may be open, in all processes together; for the supervisor to change."""
        return self._words[_LIMIT]

    @limit.setter
    def limit(self, limit: int) -> None:
        self._words[_LIMIT] = limit
        os.eventfd_write(self.freed, 1)

    def close(self) -> None:
        """Close the descriptors. The memory goes with the last process that has it."""
        os.close(self.descriptor)
        os.close(self.freed)

    @property
    def most_connections(self) -> int:
        """The highest limit that the tables of hosts have room for."""
        return self.host_count // 2

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock that all threads of all processes share. Nothing that blocks happens under it."""
        with self.lock:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def used(self) -> list[int]:
        """Return the indexes of the rows that processes have."""
        return [index for index, used in enumerate(self._used) if used]

    def counters(self, index: int) -> memoryview:
        """Return the counters in a row."""
        start = self._counters_at + index * COUNTERS
        return self._words[start : start + COUNTERS]

    def hosts(self, index: int) -> HostTable:
        """Return the table of hosts in a row."""
        size = self.host_count * HOST_WORDS
        return HostTable(self._words[self._hosts_at + index * size : self._hosts_at + (index + 1) * size], self._salt)

    # -- the supervisor

    def claim(self) -> Row | None:
        """Return a row for a new process; `None` if all are in use."""
        for index, used in enumerate(self._used):
            if not used:
                self._used[index] = 1
                return Row(self, index)
        return None

    def bury(self, row: Row) -> dict[str, object]:
        """Take back the row of a process that has ended; return what it had counted, as `Snapshot` names it.

        Its places and its hosts are free from now on.
        """
        counted = counters_of(self.counters(row.index))
        # Without the lock, which a process that has been stopped may hold: the row is nobody's any more, and whoever
        # reads it meanwhile counts some of what is about to go.
        self.taken[row.index] = self.waiting[row.index] = 0
        self.counters(row.index)[:] = memoryview(bytes(_WORD * COUNTERS)).cast("Q")
        size = self.host_count * HOST_WORDS
        self._clear(_WORD * (self._hosts_at + row.index * size), _WORD * size)
        self._used[row.index] = 0
        os.eventfd_write(self.freed, 1)
        return counted

    def _clear(self, start: int, size: int) -> None:
        """Set a part of the memory to zero without touching the pages of it that were never written to."""
        end = start + size
        try:
            while (start := os.lseek(self.descriptor, start, os.SEEK_DATA)) < end:
                hole = min(end, os.lseek(self.descriptor, start, os.SEEK_HOLE))
                os.pwrite(self.descriptor, bytes(hole - start), start)
                start = hole
        except OSError as error:
            if error.errno != errno.ENXIO:  # there is no more data
                raise


class Row:
    """The row of one process."""

    def __init__(self, board: Board, index: int) -> None:
        self.board = board
        self.index = index
        self.number = index + 1

    @property
    def counters(self) -> memoryview[int]:
        """Where the process keeps its totals."""
        return self.board.counters(self.index)

    def places(self) -> SharedPlaces:
        """Return the places of all processes, for this one."""
        return SharedPlaces(self)

    def host_limit(self, limit: int, trusted: Sequence[IPv4Network | IPv6Network]) -> SharedHostLimit:
        """Return the limit for each host, counted over all processes."""
        return SharedHostLimit(self, limit, trusted)


class SharedPlaces:
    """The places of all processes together, for one of them: what `BoundedSemaphore` is for a single process.

    Parameters
    ----------
    row:
        The row of the process.

    """

    def __init__(self, row: Row) -> None:
        self._board = row.board
        self._index = row.index
        self.freed = row.board.freed
        """Becomes readable when another process may have given a place back; whoever waits reads it and looks."""

    def acquire(self, *, blocking: bool) -> bool:
        """Take a place; return false if all are taken. It never blocks for one, whatever is asked."""
        assert not blocking
        board = self._board
        with board.locked():
            if sum(board.taken) >= board.limit:
                return False
            board.taken[self._index] += 1
            return True

    def want(self, *, wanted: bool) -> None:
        """Say that the process waits for a place, or no longer does.

        It tries once more after it has said so, and a process that gives a place back looks for those that wait after
        it has done so: whichever comes second sees the other. Both pass through a lock on the way, which is a barrier
        on the processors that Linux knows; whoever waits looks again after a while all the same.
        """
        self._board.waiting[self._index] = wanted

    def look(self) -> None:
        """Take in that a place may be free, before trying for it."""
        try:
            os.eventfd_read(self.freed)
        except BlockingIOError:  # another process has
            pass

    def release(self) -> None:
        """Give a place back, and wake the processes that wait for one."""
        board = self._board
        with board.lock:
            board.taken[self._index] -= 1
        if any(board.waiting):
            os.eventfd_write(board.freed, 1)


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
        self._own = row.board.hosts(row.index)
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
                self._tables[index] = self._board.hosts(index)
            total += self._tables[index].count(key)
        return total
