"""What the plugin warns of."""

from __future__ import annotations


class TcpServerWarning(UserWarning):
    """Something went wrong in a server of a test: its handler raised an exception, or it could not end in time."""


class UnclosedSocketWarning(UserWarning):
    """A test that is checked for leaks did not close a socket, and the garbage collector did.

    It is no `ResourceWarning`, as the interpreter's own warning of this is: Python ignores those by default.
    """
