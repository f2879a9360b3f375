"""The worker processes: starting them, which is the only place of the program that forks, and reaping them."""

from __future__ import annotations

import gc
import os
import selectors
import signal
import traceback
from collections.abc import Iterator

from echoserver.errors import EchoServerError
from echoserver.net.listener import Listener
from echoserver.process.signals import EventInbox
from echoserver.serving.board import Board, Row
from echoserver.supervisor.channel import Channel, Message, channels
from echoserver.supervisor.generation import Generation, Process, cause_of, process_name
from echoserver.supervisor.worker import Post, work


class Pool:
    """The worker processes that have been started and not yet reaped.

    Parameters
    ----------
    listeners:
        What they accept on.
    board:
        What all of them count together. It has a row for each process.
    inbox:
        Where the signals of the supervisor arrive.
    taken:
        The signals that the supervisor has handlers for, which are not a worker's.

    """

    def __init__(
        self, listeners: list[Listener], board: Board, inbox: EventInbox, taken: tuple[signal.Signals, ...]
    ) -> None:
        self.listeners = listeners
        self.board = board
        self._inbox = inbox
        self._taken = taken
        self._processes: dict[int, Process] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(inbox.waiting, selectors.EVENT_READ)

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._processes.values()))

    def __len__(self) -> int:
        return len(self._processes)

    def wait(self, timeout: float | None) -> list[Process]:
        """Wait until a signal or a message arrives; return the processes that say something."""
        return [key.data for key, _ in self._selector.select(timeout) if key.data is not None]

    def hear(self, process: Process) -> list[Message]:
        """Return what a process says."""
        messages = process.channel.receive()
        if messages is None:  # it has closed its end, and is about to be reaped
            self._selector.unregister(process.channel)
            return []
        return messages

    def say_to_all(self, word: str) -> None:
        """Tell all processes something."""
        for process in self:
            process.say(word)

    def close_listeners(self) -> None:
        """Stop listening, as far as this process does: the kernel refuses peers when no process listens any more."""
        for listener in self.listeners:
            listener.close()

    # -- start

    def fork(self, generation: Generation) -> None:
        """Start a process of a generation.

        Raises
        ------
        EchoServerError
            The system starts no more processes, or as many are open as there may be.

        """
        row = self.board.claim()
        if row is None:
            raise EchoServerError("too many processes are still retiring; wait, or lower retire_timeout")
        try:
            pid, channel = self._fork(generation, row)
        except OSError as error:
            self.board.bury(row)
            hint = "allow more processes (ulimit -u, --pids-limit) or open files (ulimit -n)"
            raise EchoServerError(f"cannot start a process: {os.strerror(error.errno or 0)}; {hint}") from None
        process = Process(generation, row, pid, channel)
        generation.members.append(process)
        self.adopt(process)

    def adopt(self, process: Process) -> None:
        """Take in a process that has been started."""
        self._processes[process.pid] = process
        self._selector.register(process.channel, selectors.EVENT_READ, process)

    def _fork(self, generation: Generation, row: Row) -> tuple[int, Channel]:
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
                self._become_worker(Post(process_name(row), generation.config, self.listeners, row), ours, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._taken)
            theirs.close()
        return pid, ours

    def _become_worker(self, post: Post, ours: Channel, theirs: Channel) -> None:
        """Run the worker, in the new process, and never return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in self._taken:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._taken)
            # The supervisor's ends of all channels: while a worker held one, others would not see the supervisor die.
            for channel in (ours, *(process.channel for process in self)):
                channel.close()
            self._selector.close()
            self._inbox.close()
            code = work(post, theirs)
        except BaseException:  # noqa: BLE001 - nothing of the supervisor's may run in this process
            traceback.print_exc()
        finally:
            os._exit(code)

    # -- end

    def reap(self) -> Iterator[tuple[Process, str, list[Message]]]:
        """Reap all children that have ended; yield each process, how it ended, and what it had said last.

        Orphans, which process 1 is given by the kernel, are reaped without a word.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # there are none
                return
            if pid == 0:
                return
            process = self._processes.pop(pid, None)
            if process is not None:
                yield process, cause_of(status), self._last_words(process)

    def _last_words(self, process: Process) -> list[Message]:
        said: list[Message] = []
        while process.channel in self._selector.get_map():
            said += self.hear(process)
        process.channel.close()
        process.generation.members.remove(process)
        return said
