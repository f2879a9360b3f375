"""`echoclient bench` and `echoclient report`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, Unpack

import click

from echoclient.errors import ClientError
from echoclient.load.plan import MOST_CONNECTIONS, Plan, PlanError, parse_sizes
from echoclient.load.result import Result, ResultError
from echoclient.load.runner import run
from echoclient.load.table import clear_live, plan_line, show_live, summary
from echoclient.options import duration_value, examples, say, target_argument, time_options
from echoclient.transport_options import transport_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.load.plan import Expect
    from echoclient.target import Target

_INTERRUPTED = 130
# Any function that click can make a command of.
F = TypeVar("F", bound="Callable[..., object]")


class _Parameters(TypedDict):
    """The options that have the names of a plan's parameters."""

    connections: int
    pipeline: int
    duration: float | None
    messages: int | None
    rate: float | None
    churn: bool
    expect: Expect
    verify: bool
    warmup: float
    processes: int
    sources: tuple[str, ...]
    seed: int
    timeout: float
    wait: float


class _Refusal(click.ClickException):
    """What this machine can't do, as one line with the exit status of bad usage."""

    exit_code = 2


def _sizes(text: str) -> tuple[int, int]:
    try:
        return parse_sizes(text)
    except PlanError as error:
        raise click.BadParameter(str(error)) from None


def _output(_: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """Refuse at the start what could not be written after a long run."""
    if name is None:
        return None
    if name == "-":
        if option.name != "json":
            raise click.BadParameter("- is standard output, which only --json can use: name a file")
        return name
    path = Path(name)
    if path.is_dir():
        raise click.BadParameter(f"{name} is a directory: name a file")
    if not path.parent.is_dir():
        raise click.BadParameter(f"{name}: there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.BadParameter(f"{name} can't be written: permission denied")
    return name


def _file_option(flag: str, text: str, metavar: str = "FILE", *, required: bool = False) -> Callable[[F], F]:
    return click.option(flag, callback=_output, metavar=metavar, help=text, required=required)


@click.command(
    epilog=examples(
        "echoclient bench -c 64 --duration 30s",
        "echoclient bench -c 100 -s 64-4096 --rate 20000 --html load.html localhost:9000",
        "echoclient bench --churn -n 10000 --json - 9000",
        "echoclient bench --tls-ca ca.pem --proxy-header v2 tls://localhost:9443",
    )
)
@target_argument
@click.option(
    "-c",
    "--connections",
    type=click.IntRange(1, MOST_CONNECTIONS),
    default=16,
    show_default=True,
    metavar="N",
    help="Connections open at once, over all processes.",
)
@click.option(
    "-s",
    "--size",
    "sizes",
    type=_sizes,
    default="64",
    show_default=True,
    metavar="BYTES",
    help="Size of a message; 64-4096 draws sizes from that range.",
)
@click.option(
    "--pipeline",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Messages in flight on each connection.",
)
@click.option("--duration", type=duration_value, metavar="DURATION", help="Measure for this long.  [default: 10s]")
@click.option("-n", "--messages", type=click.IntRange(1), metavar="N", help="Measure this many messages instead.")
@click.option(
    "--rate",
    type=float,
    metavar="R",
    help="Open loop: send R messages per second at planned times, over all connections. Latency counts from the "
    "planned time, so that a server can't hide a stall.",
)
@click.option("--churn", is_flag=True, help="Connect, exchange one message, close; repeatedly.")
@click.option(
    "--expect",
    type=click.Choice(["echo", "upper"]),
    default="echo",
    show_default=True,
    help="What the server does to the bytes.",
)
@click.option("--verify/--no-verify", default=True, show_default=True, help="Compare every byte that comes back.")
@click.option(
    "--warmup", type=duration_value, default="0", metavar="DURATION", help="Apply the same load before measuring."
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="How many processes generate the load.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="ADDRESS",
    help="Connect from this address; several are used in turn. Each has its own ports, which --churn can use up.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Seed of the bytes and sizes: the same seed sends the same."
)
@_file_option("--json", "Write the result as JSON; - is standard output, which then has nothing else.", "FILE|-")
@_file_option("--hgrm", "Write the latencies in HdrHistogram's percentile format, in milliseconds.")
@_file_option("--html", "Write a page with charts, in one self-contained file.")
@time_options()
@transport_options
def bench(
    target: Target,
    sizes: tuple[int, int],
    json: str | None,
    hgrm: str | None,
    html: str | None,
    **parameters: Unpack[_Parameters],
) -> int:
    """Put load on a server, and check and time every reply.

    The default is a closed loop: each reply triggers the next message on its
    connection, so the server sets the pace. --rate makes it an open loop:
    messages are sent at planned times, whatever the server does. With
    --churn, each message has a connection of its own. Over TLS, handshakes are
    timed apart from connects and exchanges.

    Exit status 0 only if everything was done as asked; 1 if anything was
    lost, later than --timeout, or not what was sent; 130 after Ctrl-C, which
    prints what was measured until then.
    """
    _refuse_same(json, hgrm, html)
    try:
        plan = Plan(target=target, smallest=sizes[0], largest=sizes[1], **parameters)
    except PlanError as error:
        raise click.UsageError(str(error)) from None
    live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if json != "-":
        click.echo(plan_line(plan))
    try:
        result = run(plan, progress=show_live if live else None, say=say)
    except PlanError as error:
        raise _Refusal(str(error)) from None
    finally:
        if live:
            clear_live()
    # If standard output is for the JSON, what the user has to know goes to standard error.
    if json != "-" or not result.ok or result.generator_bound:
        click.echo(summary(result), err=json == "-", color=False if os.environ.get("NO_COLOR") else None)
    if json:
        _write(json, result.to_json())
    if hgrm and result.latency:
        from echoclient.load.hgrm import percentile_text

        _write(hgrm, percentile_text(result.latency))
    if html:
        from echoclient.load.html_page import html_page

        _write(html, html_page([(str(target), result)]))
    if result.interrupted:
        return _INTERRUPTED
    return 0 if result.ok else 1


@click.command(epilog=examples("echoclient report threads.json workers.json --html compared.html"))
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False), metavar="FILE.json...")
@_file_option("--html", "The page to write, in one self-contained file.", required=True)
def report(files: tuple[str, ...], html: str) -> None:
    """Show the results of several runs on one page.

    Each FILE was written by bench --json. Ratios are to the first.
    """
    from echoclient.load.html_page import html_page

    results = []
    for name in files:
        try:
            results.append((name, Result.from_json(Path(name).read_text())))
        except (ResultError, OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{name}: {error}") from None
    _write(html, html_page(results))
    click.echo(f"{html}: {len(results)} results")


def _refuse_same(*names: str | None) -> None:
    given = [name for name in names if name]
    for name in given:
        if given.count(name) > 1:
            raise click.UsageError(f"{name} is named twice: give each output a file of its own")


def _write(name: str, text: str) -> None:
    try:
        if name == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            Path(name).write_text(text)
    except OSError as error:
        raise ClientError(f"{name} can't be written: {error.strerror or error}") from error
