"""`echoclient connect`: a prompt in a terminal, a pipe elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from echoclient.options import examples, say, target_argument, time_options
from echoclient.session import connect as open_session
from echoclient.transport_options import transport_options

if TYPE_CHECKING:
    from echoclient.target import Target

_STDIN, _STDOUT = 0, 1


@click.command(
    epilog=examples(
        "echoclient connect localhost:9000",
        "printf hello | echoclient connect 9000",
        "echoclient connect --tls-ca ca.pem tls://localhost:9443",
        "echoclient connect --wait 30s '[::1]:9000' < request.bin > reply.bin",
    )
)
@target_argument
@time_options()
@transport_options
def connect(target: Target, timeout: float, wait: float) -> None:
    """Talk to a server.

    In a terminal, it is a prompt: each line is sent with a newline, replies
    are shown as they arrive, and /help lists the commands.

    Elsewhere, it is a byte-exact pipe: standard input is sent, replies are
    written to standard output, and the end of input half-closes the
    connection. It ends when the server ends the connection.
    """
    session = open_session(target, timeout=timeout, wait=wait, say=say)
    if os.isatty(_STDIN) and os.isatty(_STDOUT):
        from echoclient.repl import run_prompt

        run_prompt(session, timeout=timeout)
    else:
        from echoclient.interrupt import SignalWakeUp
        from echoclient.pipe import run_pipe

        with session, SignalWakeUp() as signalled:
            run_pipe(session, _STDIN, _STDOUT, signalled.fileno())
