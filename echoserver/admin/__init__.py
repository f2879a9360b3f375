"""Observing and controlling a running server: one interface, and what is built on it. Loaded only with `--admin`."""
