"""The server as a process: signals, limits of the process, service manager, health check."""
