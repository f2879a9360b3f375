"""Workers mode: a poller, a ready queue, and a few worker threads."""
