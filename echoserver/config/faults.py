"""The kinds of value that say which faults connections meet. The rules are loaded only if there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoserver.config.addresses import Several
from echoserver.config.values import Kind, RefusalError

if TYPE_CHECKING:
    from echoserver.faults.rules import Rule


class FaultRules(Several["Rule"]):
    """Rules of faults."""

    metavar = "RULE"
    allowed = "rules KIND[=PARAMETERS][@TRIGGER], such as delay=50ms@10% or reset@byte 1000 (in a file, a list)"

    def check(self, value: object) -> tuple[Rule, ...]:
        rules = super().check(value)
        if rules:
            from echoserver.faults.conflicts import check_together

            try:
                check_together(rules)
            except ValueError as error:
                raise RefusalError(str(error)) from None
        return rules

    def show(self, value: tuple[Rule, ...]) -> object:
        return [str(rule) for rule in value]

    def check_one(self, entry: object) -> Rule:
        from echoserver.faults.rules import Rule, parse_rule

        if isinstance(entry, Rule):
            return entry
        if not isinstance(entry, str) or not entry:
            raise ValueError(self.allowed)
        try:
            return parse_rule(entry)
        except ValueError as error:
            raise RefusalError(str(error)) from None


class FaultTicket(Kind[str]):
    """The ticket of a connection, or nothing."""

    metavar = "TICKET"
    allowed = "a ticket, as ticket= in the log shows it; empty in a file is none"

    def check(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(self.allowed)
        if value:
            from echoserver.faults.tickets import read_ticket

            try:
                read_ticket(value)
            except ValueError as error:
                raise RefusalError(str(error)) from None
        return value

    def parse(self, text: str) -> str:
        if not text:
            raise ValueError(self.allowed)
        return self.check(text)
