"""The client of an echo server: a prompt, a byte-exact pipe, and tools that measure and load the server."""

# The server's too: the two are one distribution.
__version__ = "0.1.0"
