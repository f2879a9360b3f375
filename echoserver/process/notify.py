"""Telling systemd, or another service manager, what state the server is in (sd_notify(3))."""

from __future__ import annotations

import socket
from collections.abc import MutableMapping

_SEND_SECONDS = 1.0


class ServiceManager:
    """What has started this process and wants to know its state; nothing, where `NOTIFY_SOCKET` is not set.

    Parameters
    ----------
    environment:
        The environment of the process. The variable is removed, so that no child process reports for this one.

    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")

    def variables(self) -> dict[str, str]:
        """Return what the environment of this process said, for a program that follows it."""
        return {"NOTIFY_SOCKET": self._address} if self._address else {}

    def tell(self, **state: str) -> None:
        """Send variables such as `READY="1"`. Errors are ignored: the manager must not be needed to serve."""
        if not self._address.startswith(("/", "@")):
            return
        # An abstract name begins with a zero byte, which the variable can't hold (unix(7)).
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        message = "\n".join(f"{name}={value}" for name, value in state.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_SEND_SECONDS)
                sock.connect(address)
                sock.send(message.encode())
        except OSError:
            pass
