"""Several processes that serve on the same listeners, and the one that starts, watches, replaces and ends them."""
