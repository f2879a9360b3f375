"""The command `python -m bench.duel`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from bench.duel.bout import Bout, BoutFailedError, hold
from bench.duel.page import page
from bench.duel.verdict import verdict
from bench.duel.work import MODELS, WORKS
from bench.machine import describe
from echoclient.load.units import count_text, time_text


@click.command("duel", epilog="Example: python -m bench.duel --html duel.html --connections 256")
@click.option(
    "-c", "--connections", default=64, show_default=True, type=click.IntRange(1, 1000), help="How many peers."
)
@click.option(
    "--seconds", default=3.0, show_default=True, type=click.FloatRange(0.2, 60), help="How long each model is measured."
)
@click.option(
    "--html",
    "html",
    default="duel.html",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="Where the page goes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of text.")
@click.help_option("-h", "--help")
def main(*, connections: int, seconds: float, html: str, as_json: bool) -> None:
    """Have each model of the server do the same work under the same load, and draw what its threads do meanwhile."""
    if not sys.platform.startswith("linux"):
        raise click.ClickException("it reads what threads do from /proc and needs workers mode: run it on Linux")
    bouts: list[Bout] = []
    try:
        for work in WORKS:
            held = [_hold(work, model, connections, seconds) for model in MODELS]
            bouts += held
            if not as_json:
                _print(work, held)
        Path(html).write_text(page(bouts, connections, describe()))
    except (BoutFailedError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps([bout.to_json() for bout in bouts]))
    click.echo(f"the page with the threads: {html}", err=as_json)


def _hold(work: str, model: str, connections: int, seconds: float) -> Bout:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{WORKS[work].title}: {MODELS[model].title} ...", nl=False, err=True)
    try:
        return hold(work, model, connections, seconds)
    finally:
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)


def _print(work: str, bouts: list[Bout]) -> None:
    click.secho(WORKS[work].title, bold=True)
    click.echo(f"  {'':16} {'messages/s':>11} {'p50':>9} {'p99':>9} {'CPU/message':>12} {'memory':>8}")
    for bout in bouts:
        click.echo(
            f"  {MODELS[bout.model].title:16} {count_text(bout.rate):>11} {time_text(bout.percentiles[50.0]):>9} "
            f"{time_text(bout.percentiles[99.0]):>9} {time_text(bout.cpu):>12} {bout.memory / 1e6:>5.0f} MB"
        )
    click.echo(f"  {verdict(bouts)}\n")


if __name__ == "__main__":
    main()
