"""A server of the duel, as a process of its own: `python -m bench.duel.served WORK MODEL`.

It prints its port. For each line on its standard input it prints how many connections it has, and the names of its
threads by their IDs in the system. When the input ends, it ends too, so that it never outlives the duel.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from bench.duel.work import MODELS, WORKS
from echoserver import Server, ServerConfig


def main() -> None:
    """Serve until the standard input ends."""
    work, model = WORKS[sys.argv[1]], sys.argv[2]
    options: dict[str, Any] = dict(MODELS[model].options)
    handler = work.inline_handler if model == "inline" else work.handler
    config = ServerConfig(port=0, handler=handler, handler_options=dict(work.options()), **options)
    this_thread = threading.current_thread()
    with Server(config) as server:
        _say(server.address[1])
        for _ in sys.stdin:
            names = {thread.native_id: thread.name for thread in threading.enumerate() if thread is not this_thread}
            _say({"active": server.stats().active, "threads": names})


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
