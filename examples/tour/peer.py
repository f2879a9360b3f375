"""A peer for the chapters that start a server: the product's own client."""

import logging
import sys

try:
    import echoserver  # noqa: F401 - here, so that the message below is for both
    from echoclient.session import Session, connect
    from echoclient.target import Target
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is not installed here: `make tour` installs it")

# The log of the server would go to standard error, between the lines of the chapter, which says the same.
logging.getLogger("echoserver").setLevel(logging.CRITICAL)


def peer(port: int, message: bytes) -> Session:
    """Connect to a server on this machine, and send it a message. The connection ends with its `with` block."""
    session = connect(Target(port=port))
    session.send(message)
    return session
