"""The same server written with other tools. Each script serves `echo` or `upper` on a port of 127.0.0.1.

They do the same work as echoserver: TCP_NODELAY on every connection, receive buffers of the same size, and the same
backlog. They are run by path, so that starting one imports only what it needs.
"""
