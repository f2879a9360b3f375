"""`echoclient send`: one exchange, and a check of the reply."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from echoclient.duplex import Duplex
from echoclient.durations import Deadline, format_duration
from echoclient.errors import ClientError, ClosedError, TimedOutError
from echoclient.expect import Expectation, parse_expectation
from echoclient.options import examples, say, target_option, time_options
from echoclient.session import Session, connect
from echoclient.transport_options import transport_options

if TYPE_CHECKING:
    from typing import BinaryIO

    from echoclient.target import Target


class DiffersError(ClientError):
    """The reply is not what was expected."""

    word = "DIFFERS"


def _expectation_value(text: str) -> Expectation:
    try:
        return parse_expectation(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(
    epilog=examples(
        "echoclient send hello",
        "echoclient send --expect upper -t localhost:9000 hello world",
        "echoclient send -t unix:/run/echo.sock hello",
        "echoclient send --proxy-header v2 --proxy-source 192.0.2.1:7 hello",
        "echoclient send --expect echo --file photo.jpg > /dev/null",
    )
)
@click.argument("text", nargs=-1)
@click.option("--file", type=click.File("rb"), help="Send this file unchanged.")
@click.option(
    "--expect",
    type=_expectation_value,
    default="none",
    show_default=True,
    metavar="echo|upper|none|regex:PATTERN",
    help="What the reply must be; none: anything.",
)
@target_option
@time_options()
@transport_options
def send(
    text: tuple[str, ...],
    file: BinaryIO | None,
    expect: Expectation,
    target: Target,
    timeout: float,
    wait: float,
) -> None:
    """Make one exchange: send, half-close, and read the reply to its end.

    TEXT is sent as echo(1) writes it: words joined by spaces, then a newline.
    Without TEXT or --file, standard input is sent unchanged. The reply is
    written to standard output. --timeout limits the whole exchange.
    """
    if text and file:
        raise click.UsageError("TEXT and --file together: give one of the two")
    if text:
        request = os.fsencode(" ".join(text)) + b"\n"
    else:
        with file or open(0, "rb", closefd=False) as source:
            request = source.read()
    reply = bytearray()
    with connect(target, timeout=timeout, wait=wait, say=say) as session:
        try:
            exchange(session, request, reply, timeout)
        except ClientError as error:
            raise error.adding(session.traffic()) from error
        finally:
            click.echo(bytes(reply), nl=False)
    difference = expect(request, bytes(reply))
    if difference is not None:
        for line in difference.evidence:
            click.echo(line, err=True)
        raise DiffersError(f"{target}: {difference.what}")


def exchange(session: Session, request: bytes, reply: bytearray, timeout: float) -> None:
    """Send ``request``, half-close, and append what is received to ``reply`` until the server ends the connection.

    Args:
        session: a fresh connection.
        request: what to send.
        reply: what is received is appended to it at once, so a failed exchange leaves what had arrived.
        timeout: seconds for the whole exchange; 0 is no limit.

    Raises:
        ClientError: the connection failed, ended before everything was sent, or did not end in time.
    """
    deadline = Deadline(timeout or None)
    duplex = Duplex(session)
    duplex.queue(request, last=True)
    while True:
        reply += duplex.pump(deadline)
        if duplex.ended:
            break
        if deadline.passed():
            raise TimedOutError(
                f"{session.target}: the server did not end the exchange within {format_duration(timeout)}"
            )
    if duplex.unsent:
        raise ClosedError(f"{session.target}: the server ended the connection before everything was sent")
