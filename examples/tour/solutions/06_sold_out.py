"""The solution of chapter 6: more buyers than tickets."""

import threading


class Office:
    """Sells each ticket once."""

    def __init__(self, tickets: int) -> None:
        self._left = tickets
        self._lock = threading.Lock()  # guards `_left`

    def sell(self) -> bool:
        """Sell a ticket; return false if none is left."""
        # Look and change under one lock. With two `with` blocks another thread could take the last ticket in between.
        with self._lock:
            if self._left == 0:
                return False
            self._left -= 1
            return True
