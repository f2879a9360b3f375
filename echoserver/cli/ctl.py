"""The command `echoserver ctl`: what the admin endpoint answers, for people and for scripts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import click

from echoserver.admin.client import ask
from echoserver.admin.guard import read_token
from echoserver.config import load_config
from echoserver.errors import ConfigError, printable
from echoserver.net.endpoint import Endpoint

_API = "/api/v1"


@dataclass(frozen=True, slots=True)
class _Target:
    endpoint: Endpoint
    token: str
    as_json: bool

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        return ask(self.endpoint, self.token, method, _API + path, body)

    def show(self, answer: dict[str, Any], for_people: Callable[[dict[str, Any]], Sequence[str]]) -> None:
        lines = [json.dumps(answer)] if self.as_json else for_people(answer)
        for line in lines:
            click.echo(printable(line))


@click.group("ctl", epilog="Example: echoserver ctl --admin unix:/run/echoserver/admin.sock status")
@click.option("--admin", metavar="ENDPOINT", help="The admin endpoint, as serve has it.")
@click.option("--admin-token-file", metavar="FILE", help="File with the token, if the endpoint requires one.")
@click.option("--config", metavar="FILE", help="The server's configuration file, which names the endpoint.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.pass_context
def command(
    context: click.Context, admin: str | None, admin_token_file: str | None, config: str | None, as_json: bool
) -> None:
    """Observe and control a running server, by the endpoint that `serve --admin` has opened.

    The endpoint can also be named in the environment (ECHOSERVER_ADMIN) or in the configuration file.
    """
    flags = {"admin": admin, "admin_token_file": admin_token_file, "config": config}
    loaded = load_config({name: value for name, value in flags.items() if value is not None}, os.environ).config
    if loaded.admin is None:
        raise ConfigError("is missing: name the endpoint, such as unix:/run/echoserver/admin.sock", origin="--admin")
    context.obj = _Target(loaded.admin, read_token(loaded.admin_token_file), as_json)


@command.command()
@click.pass_obj
def status(target: _Target) -> None:
    """Say what the server is, and what it has counted."""
    target.show(target.ask("GET", "/snapshot"), _status_lines)


@command.command()
@click.option("--peer", default="", help="A part of the peer's address.")
@click.option("--state", default="", help="A state, such as receiving.")
@click.option("--sort", default="-age", show_default=True, help="A column, with - in front for the highest first.")
@click.option("--limit", default=100, show_default=True, help="How many at most.")
@click.pass_obj
def connections(target: _Target, /, **query: object) -> None:
    """List open connections."""
    target.show(target.ask("GET", f"/connections?{urlencode(query)}"), _connection_lines)


@command.command()
@click.argument("connection", required=False)
@click.pass_obj
def why(target: _Target, connection: str | None) -> None:
    """Say why a connection, or the whole server, is as it is."""
    path = "/why" if connection is None else f"/connections/{quote(connection, safe='')}/why"
    target.show(target.ask("GET", path), lambda answer: answer["sentences"])


@command.command()
@click.argument("connection")
@click.pass_obj
def kill(target: _Target, connection: str) -> None:
    """End a connection at once."""
    answer = target.ask("DELETE", f"/connections/{quote(connection, safe='')}")
    target.show(answer, lambda answer: [f"killed {answer['killed']}"])


@command.command()
@click.pass_obj
def drain(target: _Target) -> None:
    """Have the server stop, as on SIGTERM."""
    target.show(target.ask("POST", "/drain"), lambda answer: [f"draining {answer['draining']} connections"])


@command.command()
@click.pass_obj
def reload(target: _Target) -> None:
    """Have the server read its configuration again, as on SIGHUP."""
    target.show(
        target.ask("POST", "/reload"),
        lambda answer: [f"reloaded; changed: {', '.join(answer['changed']) or 'nothing'}"],
    )


@command.command()
@click.argument("rules", nargs=-1, metavar="[RULE]...")
@click.option("--seed", default=0, help="What everything that is drawn follows from; 0 draws one.")
@click.option("--clear", is_flag=True, help="Have new connections meet no faults.")
@click.pass_obj
def faults(target: _Target, rules: tuple[str, ...], seed: int, clear: bool) -> None:
    """Show the faults that new connections meet, or have them meet others."""
    if clear and rules:
        raise click.UsageError("--clear can't be combined with rules")
    if clear:
        answer = target.ask("DELETE", "/faults")
    elif rules:
        answer = target.ask("POST", "/faults", {"rules": list(rules), "seed": seed})
    else:
        answer = target.ask("GET", "/faults")
    target.show(answer, _fault_lines)


@command.command()
@click.pass_obj
def threads(target: _Target) -> None:
    """List the threads of the server, and what each does."""
    target.show(target.ask("GET", "/threads"), _thread_lines)


@command.command("log-level")
@click.argument("level", required=False)
@click.pass_obj
def log_level(target: _Target, level: str | None) -> None:
    """Show what is logged, or log from another level upwards: debug, info, warning or error."""
    answer = target.ask("GET", "/log-level") if level is None else target.ask("POST", "/log-level", {"level": level})
    target.show(answer, lambda answer: [answer["level"]])


def _status_lines(answer: dict[str, Any]) -> list[str]:
    counters, limits = answer["counters"], answer["limits"]
    closed = ", ".join(f"{reason} {count:,}" for reason, count in counters["closed"].items() if count) or "none"
    lines = [
        f"echoserver {answer['version']}: {answer['handler']}, mode {answer['mode']}, {answer['state']} "
        f"for {answer['uptime']:,.0f} s",
        f"endpoints    {', '.join(entry['endpoint'] for entry in answer['endpoints'])}",
        f"connections  {counters['active']:,} of {limits['max_connections']:,} open, "
        f"{counters['accepted']:,} accepted, {counters['rejected']:,} rejected",
        f"ended        {closed}",
        f"traffic      {counters['bytes_in']:,} B in, {counters['bytes_out']:,} B out, {counters['replies']:,} replies",
    ]
    if answer["faults"]["rules"]:
        lines.append(f"faults       {', '.join(answer['faults']['rules'])} (seed {answer['faults']['seed']})")
    return lines


_COLUMNS = ("id", "peer", "endpoint", "age", "idle", "bytes_in", "bytes_out", "state", "thread")


def _connection_lines(answer: dict[str, Any]) -> list[str]:
    rows = [[_cell(row[column]) for column in _COLUMNS] for row in answer["connections"]]
    lines = _table([list(_COLUMNS), *rows])
    listed = len(answer["connections"])
    if listed < answer["matched"]:
        lines.append(f"{answer['matched'] - listed:,} more; --limit {answer['matched']} lists all")
    return lines


def _fault_lines(answer: dict[str, Any]) -> list[str]:
    rules = [*answer["rules"], f"seed {answer['seed']}"] if answer["rules"] else ["no faults"]
    return [*rules, *(f"{kind}: {count:,} so far" for kind, count in answer["counts"].items() if count)]


def _thread_lines(answer: dict[str, Any]) -> list[str]:
    return _table([[row["name"], row["doing"], row["where"] or "-"] for row in answer["threads"]])


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:,.1f}" if isinstance(value, float) else str(value)


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
