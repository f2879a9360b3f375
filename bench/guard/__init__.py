"""The guard `python -m bench.guard`: it fails where a message costs more than it did at a given commit."""
