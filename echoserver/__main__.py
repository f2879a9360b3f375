"""The first lines of the process, for the command `echoserver` and for `python -m echoserver` alike.

Loading the rest takes a tenth of a second. A signal that arrives during that time must neither print a traceback nor be
lost: the kernel delivers a signal to the first process of a container only if it has a handler (pid_namespaces(7)).

The handlers are set when this module is imported, and nothing that takes time is imported before. What remains is the
start of the interpreter, before any code of ours: some 10 to 20 ms, mostly spent in `site`. SIGTERM and SIGHUP end the
process by their default action then, and SIGINT prints the traceback of a KeyboardInterrupt. Only a parent that starts
the process with these signals blocked closes that gap, as the container image does.
"""

# The C module: `signal` wraps it in enumerations, whose import takes longer than all of this module.
import _signal  # type: ignore[import-not-found]  # typeshed describes only the public module
import os
import sys

_CODES = {"serve": 0, "healthcheck": 1}
_STANDARD_ERROR = 2


def _end(number: int, _frame: object) -> None:
    """End at once: until `serve` takes over the signals, nothing has been started that would have to be drained."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    os._exit(_CODES.get(command, 128 + number))


def _handle_signals() -> None:
    _signal.signal(_signal.SIGINT, _end)
    _signal.signal(_signal.SIGTERM, _end)
    # nohup(1) starts a program with this one ignored, which must stay so.
    if _signal.getsignal(_signal.SIGHUP) != _signal.SIG_IGN:
        _signal.signal(_signal.SIGHUP, _end)
    # Their default action is to end the process, which is not what they ask for, however early.
    _signal.signal(_signal.SIGUSR1, _signal.SIG_IGN)
    _signal.signal(_signal.SIGUSR2, _signal.SIG_IGN)
    # A parent that blocked them, as the container image does, made them wait until now.
    taken = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGUSR1)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, taken)


_handle_signals()


def main() -> None:
    """Run the command line; see `echoserver.cli.main`."""
    _occupy_standard_descriptors()
    from echoserver.cli.main import main as run

    run()


def _occupy_standard_descriptors() -> None:
    """Open what was closed for us (`2>&-`); else the first socket gets the number that the log is written to."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(opened)


if __name__ == "__main__":
    main()
