"""The first lines of the process, for the command `echoserver` and for `python -m echoserver` alike.

Loading the rest takes a tenth of a second. A signal that comes in this time must not show a traceback, and must not be
lost: the kernel delivers none to the first process of a container unless it has a handler (pid_namespaces(7)).
"""

from __future__ import annotations

import os
import signal
import sys

_CODES = {"serve": 0, "healthcheck": 1}
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_STANDARD_ERROR = 2


def main() -> None:
    """Run the command line; see `echoserver.cli.main`."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    # Its default action is to end the process, and who asks for statistics too early doesn't mean that.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # The container image starts the interpreter with the signals blocked: then they wait, instead of being lost.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _occupy_standard_descriptors()
    from echoserver.cli.main import main as run

    run()


def _end(number: int, _frame: object) -> None:
    """End at once: until `serve` takes the signals over nothing has been started that would have to be drained."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    os._exit(_CODES.get(command, 128 + number))


def _occupy_standard_descriptors() -> None:
    """Open what was closed for us (`2>&-`), or the first socket would get the number that log lines are written to."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(opened)


if __name__ == "__main__":
    main()
