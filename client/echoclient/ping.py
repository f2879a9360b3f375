"""`echoclient ping`: round-trip times over one connection, reported as ping(8) does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from echoclient.display import format_milliseconds
from echoclient.errors import ClientError
from echoclient.interrupt import Interrupt
from echoclient.options import duration_value, examples, say, target_argument, time_options
from echoclient.pinger import Pinger
from echoclient.session import connect
from echoclient.transport_options import transport_options

if TYPE_CHECKING:
    from echoclient.target import Target


@click.command(
    epilog=examples(
        "echoclient ping",
        "echoclient ping -c 10 -i 200ms -s 1000 localhost:9000",
        "echoclient ping -c 1000 -i 0 --json 9000",
        "echoclient ping --tls-ca ca.pem tls://localhost:9443",
    )
)
@target_argument
@click.option(
    "-c", "--count", type=click.IntRange(1), help="Stop after this many messages; by default, continue until Ctrl-C."
)
@click.option(
    "-i",
    "--interval",
    type=lambda text: duration_value(text, bare_seconds=True),
    default="1s",
    show_default=True,
    metavar="DURATION",
    help="Time between two messages: 200ms, 0.2 (seconds); 0: send as soon as the reply is there.",
)
@click.option(
    "-s", "--size", type=click.IntRange(1, 1 << 24), default=64, show_default=True, help="Bytes of a message."
)
@click.option("--json", "as_json", is_flag=True, help="Print only the results, as one JSON object.")
@time_options()
@transport_options
def ping(
    target: Target, count: int | None, interval: float, size: int, as_json: bool, timeout: float, wait: float
) -> int:
    """Measure round-trip times, as ping does.

    Messages of SIZE bytes are sent over one connection at a steady rate,
    whether or not the replies keep up. Each is timed until its last byte is
    back. The bytes are the same in upper case, so it works with echo and with
    upper. Exit status 1 if a reply was lost or was not what was sent. Ctrl-C
    prints the summary. Over TLS, the handshake is timed apart from them.
    """
    with connect(target, timeout=timeout, wait=wait, say=say) as session, Interrupt() as interrupt:
        pinger = Pinger(session, size=size, interval=interval, timeout=timeout, report=_drop if as_json else click.echo)
        if not as_json:
            click.echo(f"PING {target}: {size} bytes")
            if session.secured:
                click.echo(f"TLS handshake: time={format_milliseconds(session.handshake)}, {session.secured}")
        error = None
        try:
            pinger.run(count, interrupt)
        except ClientError as broken:
            error = broken.adding(session.traffic())
    stats = pinger.stats
    if as_json:
        settings: dict[str, object] = {
            "target": str(target),
            "peer": session.peer,
            "size": size,
            "interval_s": interval,
        }
        if session.secured:
            settings |= {"tls": session.secured, "handshake_ms": round(1000 * session.handshake, 6)}
        click.echo(json.dumps(settings | stats.as_dict() | {"error": error and error.word}))
    else:
        click.echo(f"\n--- {target} ping statistics ---\n{stats}")
    if error is not None:
        raise error
    return 0 if stats.clean else 1


def _drop(_: str) -> None:
    """Ignore a line of the report."""
