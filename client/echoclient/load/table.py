"""What a terminal shows: a live line during the run, and a summary at the end."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from echoclient.durations import format_duration
from echoclient.load.latency import PERCENTILES
from echoclient.load.result import BOUND_AT, spread
from echoclient.load.units import count_text, megabytes_text, time_text

if TYPE_CHECKING:
    from echoclient.load.faults import Fault
    from echoclient.load.latency import Latency
    from echoclient.load.plan import Plan
    from echoclient.load.progress import Snapshot
    from echoclient.load.result import Result

_LABEL, _COLUMN = 14, 9


def plan_line(plan: Plan) -> str:
    """Return the line that says what the run does, and to which server."""
    parts = [f"{plan.connections} x {plan.size} B"]
    if plan.pipeline > 1:
        parts.append(f"{plan.pipeline} in flight")
    if plan.mode == "churn":
        parts.append("connect, exchange, close")
    else:
        parts.append(f"open loop at {count_text(plan.rate)} msg/s" if plan.rate else "closed loop")
    parts.append(format_duration(plan.duration) if plan.duration else f"{count_text(plan.messages or 0)} messages")
    if plan.processes > 1:
        parts.append(f"{plan.processes} processes")
    if plan.sources:
        parts.append(f"from {', '.join(plan.sources)}")
    if plan.target.proxy:
        parts.append(f"PROXY {plan.target.proxy.version}")
    if plan.expect == "upper":
        parts.append("expecting upper case")
    if not plan.verify:
        parts.append("not verified")
    return f"BENCH {plan.target}: {', '.join(parts)}"


def summary(result: Result) -> str:
    """Return the summary that ends a run, with colours."""
    per = "conn/s" if result.plan.churn else "msg/s"
    what = "connections" if result.plan.churn else "messages"
    lines = [
        _line(
            "throughput",
            f"{count_text(result.rate)} {per}, {megabytes_text(result.megabytes)} each way "
            f"({count_text(result.answered)} {what} in {result.elapsed:.2f} s)",
        )
    ]
    if len(result.each_second) > 1:
        lines.append(_line("per second", _spread_text(result.each_second)))
    lines += ["", *latency_rows(result), ""]
    lines += _error_lines(result)
    lines.append(_line("generator", generator_text(result)))
    if result.generator_bound:
        lines.append(click.style(f"WARNING: {bound_text()}", fg="yellow", bold=True))
    if result.interrupted:
        lines.append(click.style("INTERRUPTED: the figures are those until then.", fg="yellow", bold=True))
    lines += [click.style(f"FAILED: {failure}", fg="red", bold=True) for failure in result.failures]
    return "\n".join(lines)


def series(result: Result) -> list[tuple[str, Latency]]:
    """Return the distributions of a result that are not empty, each with its name."""
    named = (
        ("latency" if result.service is None else "from planned", result.latency),
        ("from sent", result.service),
        ("connect", result.connect),
        ("handshake", result.handshake),
    )
    return [(name, latency) for name, latency in named if latency is not None]


def latency_rows(result: Result) -> list[str]:
    """Return a header and a row for each distribution."""
    rows = series(result)
    if not rows:
        return [_line("latency", "no message was answered")]
    header = [*(f"p{percentile:g}" for percentile in PERCENTILES[:-1]), "max", "mean"]
    lines = [" " * _LABEL + "".join(f"{title:>{_COLUMN}}" for title in header)]
    for name, latency in rows:
        values = [*(latency.percentiles[percentile] for percentile in PERCENTILES), latency.mean]
        lines.append(f"{name:{_LABEL}}" + "".join(f"{time_text(value):>{_COLUMN}}" for value in values))
    return lines


def generator_text(result: Result) -> str:
    """Return how busy the generator was."""
    shares = ", ".join(
        f"{process.cpu:.0%} CPU" + (f" and {process.starved:.0%} waiting for one" if process.starved >= 0.005 else "")
        for process in result.processes
    )
    return f"{len(result.processes)} process{'es' if len(result.processes) != 1 else ''}: {shares or 'no result'}"


def bound_text() -> str:
    """Return the warning for a generator that had no time to spare."""
    return (
        f"a generator process was busy or waiting for a CPU for {BOUND_AT:.0%} of the time or more, so these may be "
        "the generator's limits and not the server's; use --processes, or a machine with more cores."
    )


def fault_line(fault: Fault) -> str:
    """Return a line that describes a fault."""
    when = "before measuring" if fault.at is None else f"at {fault.at:.3f} s"
    return f"{fault.kind} on connection {fault.connection}, reply byte {fault.offset:,}, {when}: {fault.detail}"


def error_text(result: Result) -> str:
    """Return the number of errors of each kind, and of the messages lost and unsent, in one line."""
    parts = [f"{count:,} {kind}" for kind, count in sorted(result.faults.counts.items())]
    if result.lost:
        parts.append(f"{result.lost:,} without a reply")
    if result.unsent:
        parts.append(f"{result.unsent:,} planned but never sent")
    return ", ".join(parts) or "none"


def _error_lines(result: Result) -> list[str]:
    text = error_text(result)
    if text == "none":
        return [_line("errors", text)]
    lines = [click.style(_line("errors", text), fg="red", bold=True)]
    lines += [" " * _LABEL + fault_line(fault) for fault in result.faults.examples]
    if result.unsent:
        lines.append(
            " " * _LABEL + "The rate was not reached: the latencies do not include the messages that were never sent."
        )
    return lines


def _spread_text(seconds: list[int]) -> str:
    parts = spread(seconds)
    low, middle, high = (count_text(parts[name]) for name in ("min", "median", "max"))
    return f"min {low}, median {middle}, max {high}, deviation {parts['deviation']:.1%}"


def _line(label: str, text: str) -> str:
    return f"{label:{_LABEL}}{text}"


def show_live(snapshot: Snapshot) -> None:
    """Update the live line, on standard error."""
    parts = [f"{snapshot.phase} {snapshot.elapsed:.0f} s"]
    if snapshot.left is not None:
        parts.append(f"{snapshot.left:.0f} s left")
    if snapshot.median is not None and snapshot.p99 is not None:
        parts += [
            f"{count_text(snapshot.rate)}/s",
            f"p50 {time_text(snapshot.median)}",
            f"p99 {time_text(snapshot.p99)}",
        ]
    parts.append(f"{snapshot.errors:,} errors")
    width = shutil.get_terminal_size().columns - 1
    # Carriage return, the text, and an escape sequence that erases the rest of the line.
    click.echo(f"\r{'  '.join(parts)[:width]}\x1b[K", nl=False, err=True)


def clear_live() -> None:
    """Erase the live line, in which the terminal may have written ^C."""
    click.echo("\r\x1b[K", nl=False, err=True)
