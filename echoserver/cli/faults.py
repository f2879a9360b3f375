"""The command `echoserver faults`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from echoserver.errors import ConfigError

if TYPE_CHECKING:
    from echoserver.faults.plan import Plan


@click.group(
    "faults",
    invoke_without_command=True,
    epilog="Example: echoserver faults explain 'reset@10%,byte 1000'",
)
@click.pass_context
def command(context: click.Context) -> None:
    """List the kinds of fault that a server can meet its peers with. `explain` says what a rule or a ticket does."""
    if context.invoked_subcommand is None:
        from echoserver.faults.kinds import KINDS

        for name, kind in KINDS.items():
            click.echo(click.style(f"{name:<10}", bold=True) + f" {kind.example:<22} {kind.summary}")


@command.command(
    "explain",
    epilog="Example: echoserver faults explain 'delay=normal(50ms,10ms)' 'reset@10%' --connection 7",
)
@click.argument("what", metavar="TICKET|RULE...", nargs=-1)
@click.option("--file", metavar="FILE", default="", help="A TOML file with rules, as --fault-file of serve reads it.")
@click.option("--seed", metavar="N", type=int, help="The seed of the draws.  [default: that of the file, or 1]")
@click.option("--connection", metavar="N", type=int, help="Also show what the connection with this number meets.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option("--plot", metavar="FILE", help="Write a picture (SVG) of what the first 1000 connections meet.")
def explain(
    what: tuple[str, ...], file: str, seed: int | None, connection: int | None, as_json: bool, plot: str | None
) -> None:
    """Say in words what faults a server with these rules has, or what the connection of a ticket met."""
    from echoserver.faults.report import in_words, report

    plan = _plan(what, file, seed)
    if plan.replayed is not None:
        if connection is not None:
            _refuse("--connection", "can't be combined with a ticket, which is for one connection")
        connection = plan.replayed
    elif connection is not None and not 1 <= connection < 2**64:
        _refuse("--connection", f"{connection} is refused: must be a whole number from 1")
    if plot is not None:
        _draw(plan, plot)
    found = report(plan, connection)
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
    else:
        click.echo(in_words(found), nl=False)


def _plan(what: tuple[str, ...], file: str, seed: int | None) -> Plan:
    from echoserver.faults.draws import MOST_SEED
    from echoserver.faults.loading import read_file
    from echoserver.faults.plan import Plan
    from echoserver.faults.rules import parse_rule
    from echoserver.faults.tickets import is_ticket, read_ticket

    if not (what or file):
        raise click.UsageError("Name a ticket, or rules such as 'reset@10%'; `echoserver faults` lists the kinds.")
    if seed is not None and not 0 <= seed <= MOST_SEED:
        _refuse("--seed", f"{seed} is refused: must be a whole number from 0 to {MOST_SEED}")
    if any(map(is_ticket, what)):
        if len(what) > 1 or file or seed is not None:
            _refuse("explain", "a ticket can't be combined with rules, a file or a seed; it has rules and seed")
        try:
            return Plan.of_ticket(read_ticket(what[0]))
        except ValueError as error:
            _refuse("explain", str(error))
    of_file, seed_of_file = read_file(file, "--file") if file else ((), 0)
    try:
        rules = [parse_rule(text) for text in what]
        return Plan((*of_file, *rules), seed if seed is not None else seed_of_file or 1)
    except ValueError as error:
        _refuse("explain", str(error))


def _draw(plan: Plan, path: str) -> None:
    from echoserver.faults.picture import draw

    if plan.replayed is not None:
        _refuse("--plot", "can't be combined with a ticket, which is for one connection")
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(draw(plan))
    except OSError as error:
        _refuse("--plot", f"can't write {path!r}: {error.strerror}")


def _refuse(origin: str, problem: str) -> NoReturn:
    raise ConfigError(problem, origin=origin)
