"""The solution of chapter 1: a thread that hands over what its function returned or raised."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Call(threading.Thread, Generic[T]):
    """Call a function in a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        super().__init__()
        self._function = function
        self._returned: list[T] = []
        self._raised: BaseException | None = None

    def run(self) -> None:
        """Call the function and keep what comes of it."""
        try:
            self._returned.append(self._function())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the thread that asks for the result gets it
            self._raised = error

    def result(self) -> T:
        """Wait for the end, and return or raise here what the function did there."""
        self.join()
        if self._raised is not None:
            raise self._raised
        return self._returned[0]
