"""`echoclient wait`: return when the server answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from echoclient.duplex import Duplex
from echoclient.errors import ClosedError, TimedOutError
from echoclient.options import examples, say, target_argument, time_options
from echoclient.session import open_session, retry
from echoclient.transport_options import transport_options

if TYPE_CHECKING:
    from echoclient.durations import Deadline
    from echoclient.target import Target

# The same in upper case, so both of the server's handlers return it. A line, for servers that answer line by line.
PROBE = b"0123456789\n"


@click.command(
    epilog=examples(
        "echoclient wait && run-the-tests",
        "echoclient wait echo.example.net:9000 --wait 2m --timeout 1s",
        "echoclient wait tls://localhost:9443 --tls-ca ca.pem",
    )
)
@target_argument
@time_options(wait="30s", wait_help="How long to keep trying; 0: try once.")
@transport_options
def wait(target: Target, timeout: float, wait: float) -> None:
    """Wait until a server answers; for scripts and containers.

    A server answers if it sends something back after a line was sent to it.
    A port that only accepts connections, like that of a proxy in front of a
    dead server, is not enough, and neither is a TLS handshake. Exit status 0
    as soon as there is an answer; 1 at the deadline, and at once if a
    certificate is refused.
    """
    retry(lambda deadline: probe(target, deadline), target, timeout=timeout, wait=wait, say=say)


def probe(target: Target, deadline: Deadline) -> None:
    """Connect and make one exchange by the deadline.

    Raises:
        ClientError: why there was no answer.
    """
    with open_session(target, deadline) as session:
        duplex = Duplex(session)
        duplex.queue(PROBE)
        while not duplex.pump(deadline):
            if duplex.ended:
                raise ClosedError(f"{target}: the server closed the connection without an answer")
            if deadline.passed():
                raise TimedOutError(f"{target}: connected, but no answer")
