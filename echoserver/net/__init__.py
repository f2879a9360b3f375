"""Sockets and what the kernel knows of them: addresses, listeners, transports, splice and buffers."""
