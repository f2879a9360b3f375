"""The server as a process: signals, limits of the process, health check."""
