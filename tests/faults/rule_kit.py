"""What the tests of faults share: arbitrary rules, and plans from texts."""

from __future__ import annotations

from hypothesis import strategies as st

from echoserver.clock import format_duration
from echoserver.faults.kinds import KINDS
from echoserver.faults.plan import Plan
from echoserver.faults.quantities import show_decimal
from echoserver.faults.rules import Rule, parse_rule


def plan_of(*texts: str, seed: int = 1, replayed: int | None = None) -> Plan:
    return Plan([parse_rule(text) for text in texts], seed, replayed=replayed)


def met(plan: Plan, connections: range) -> list[int]:
    """Return the numbers of the connections that meet a rule."""
    return [number for number in connections if plan.schedule(number) is not None]


def effects(plan: Plan, *, connection: int = 1, index: int = 0, offset: int = 0, length: int = 100, age: float = 0.0):
    """Return the texts of what happens to one reply."""
    schedule = plan.schedule(connection)
    assert schedule is not None
    return [str(effect) for effect in schedule.reply(index, offset, length, age)]


durations = st.integers(1, 3600 * 10**9).map(lambda micros: format_duration(micros / 10**6))
percents = st.integers(1, 10**8).map(lambda parts: show_decimal(parts, 6))
sizes = st.integers(1, 10**12).map(str) | st.sampled_from(["1kB", "64KiB", "3MB", "1GiB", "1000B"])


@st.composite
def _weights(draw):
    return ",".join(f"{draw(durations)}:{draw(st.integers(1, 25))}" for _ in range(draw(st.integers(1, 4))))


@st.composite
def _pair(draw, values, joined: str):
    low, high = sorted(draw(st.lists(values, min_size=2, max_size=2, unique=True)))
    return joined.format(low, high)


_micros = st.integers(1, 3600 * 10**9)
_uniform = st.tuples(_micros, _micros).map(
    lambda pair: "uniform({},{})".format(*(format_duration(micros / 10**6) for micros in sorted(pair)))
)
_shapes = st.integers(1, 10**6 - 1).map(lambda thousandths: show_decimal(thousandths, 3))
_delays = st.one_of(
    durations,
    _weights(),
    _uniform,
    st.builds("normal({},{})".format, durations, durations),
    st.builds("pareto({}, {})".format, durations, _shapes),
)
_gaps = durations.map(lambda gap: "," + gap) | st.just("")
_pieces = st.builds("{}{}".format, _pair(st.integers(1, 10**12), "{}..{}"), _gaps)
_parameters = {
    "delay": _delays,
    "throttle": st.builds("{}{}/s".format, st.integers(1, 999), st.sampled_from(["B", "kB", "KiB", "MB", "GiB"])),
    "slice": _pieces,
    "stall": durations,
    "corrupt": percents.map(lambda percent: percent + "%"),
}
_connections = percents.map(lambda percent: f"{percent}%") | st.integers(1, 10**12).map(lambda nth: f"#{nth}")
_places = st.one_of(
    percents.map(lambda percent: f"{percent}%/msg"),
    st.integers(1, 10**12).map(lambda number: f"msg {number}"),
    sizes.map(lambda offset: f"byte {offset}"),
)
_spans = st.one_of(
    durations.map(lambda start: f"after {start}"),
    st.tuples(_micros, _micros)
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: "..".join(format_duration(micros / 10**6) for micros in sorted(pair))),
)
_triggers = st.tuples(*(part | st.just("") for part in (_connections, _places, _spans))).map(
    lambda parts: ",".join(filter(None, parts))
)


def _readable(text: str) -> bool:
    try:
        parse_rule(text)
    except ValueError:
        return False
    return True


@st.composite
def _texts(draw):
    kind = draw(st.sampled_from(sorted(KINDS)))
    parameters = draw(_parameters[kind]) if kind in _parameters else ""
    if kind in ("stall", "corrupt") and draw(st.booleans()):
        parameters = ""
    trigger = draw(_triggers)
    return kind + (f"={parameters}" if parameters else "") + (f"@{trigger}" if trigger else "")


texts = _texts().filter(_readable)
"""Texts of rules, all kinds with all triggers that go with them."""
rules: st.SearchStrategy[Rule] = texts.map(parse_rule)
