"""stub"""
from __future__ import annotations
from typing import Any

class Row:
    def __init__(self, number: int) -> None:
        self.number = number

class Board:
    def __init__(self, rows: int, limit: int) -> None:
        self.limit = limit
        self._free = list(range(rows, 0, -1))
    def claim(self) -> Row | None:
        return Row(self._free.pop()) if self._free else None
    def bury(self, row: Row) -> dict[str, Any]:
        self._free.append(row.number)
        self._free.sort(reverse=True)
        return {}
