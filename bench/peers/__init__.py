"""The same server, written with other tools: each script serves `echo` or `upper` on a port of 127.0.0.1.

They do the work that echoserver does and no more: TCP_NODELAY on every connection, receive buffers of the same size, a
backlog as long. They are run by their path, so that starting one loads nothing but what it needs.
"""
