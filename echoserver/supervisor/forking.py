"""Starting worker processes: the only place of the program that forks."""

from __future__ import annotations

import gc
import os
import signal
import traceback
from collections.abc import Callable

from echoserver.errors import EchoServerError
from echoserver.net.listener import Listener
from echoserver.serving.shared import Board
from echoserver.supervisor.channel import Channel, channels
from echoserver.supervisor.generation import Generation, Process, process_name
from echoserver.supervisor.worker import Post, work


class Forking:
    """Forks worker processes from the supervisor.

    Parameters
    ----------
    listeners:
        What they accept on.
    board:
        What all of them count together. It has a row for each process.
    taken:
        The signals that the supervisor has handlers for, which are not a worker's.

    """

    def __init__(self, listeners: list[Listener], board: Board, taken: tuple[signal.Signals, ...]) -> None:
        self._listeners = listeners
        self._taken = taken
        self.board = board
        self._channels: set[Channel] = set()
        self.leave: Callable[[], None] = lambda: None
        """Closes what else a forked process has no business with."""

    def fork(self, generation: Generation) -> Process:
        """Start a process of a generation.

        Raises
        ------
        EchoServerError
            The system starts no more processes, or as many are open as there may be.

        """
        row = self.board.claim()
        if row is None:
            raise EchoServerError("too many processes are still retiring; wait, or lower retire_timeout")
        ours, theirs = channels()
        # What the process has by now is never garbage. Without this, the collector of each worker would write to all
        # objects to find that out, and so make copies of the pages that all of them share.
        gc.collect()
        gc.freeze()
        # A signal that comes between the fork and the reset would run the supervisor's handler in the worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(Post(process_name(row), generation.config, self._listeners, row), ours, theirs)
        except OSError as error:
            self.board.bury(row)
            ours.close()
            hint = "allow more processes (ulimit -u, --pids-limit)"
            raise EchoServerError(f"cannot start a process: {os.strerror(error.errno or 0)}; {hint}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._taken)
            theirs.close()
        self._channels.add(ours)
        process = Process(generation, row, pid, ours)
        generation.members.append(process)
        return process

    def forget(self, process: Process) -> None:
        """Close what belongs to a process that has ended."""
        self._channels.discard(process.channel)
        process.channel.close()

    def _become_worker(self, post: Post, ours: Channel, theirs: Channel) -> None:
        """Run the worker, in the new process, and never return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in self._taken:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._taken)
            # The ends that the supervisor has of all channels: while a worker held one, the others would not see the
            # supervisor's death.
            for channel in (*self._channels, ours):
                channel.close()
            self.leave()
            code = work(post, theirs)
        except BaseException:  # noqa: BLE001 - nothing of the supervisor's may run in this process
            traceback.print_exc()
        finally:
            os._exit(code)
