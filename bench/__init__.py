"""The benchmark: echoserver beside its peers, measured with the project's own load generator. Run `python -m bench`."""
