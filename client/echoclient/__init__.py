"""The client of an echo server: a prompt, a byte-exact pipe, and tools that measure and load the server.

pytest loads a plugin of this distribution, and warns where a program has loaded this before: PYTEST_DONT_REWRITE.
"""

# The server's too: the two are one distribution.
__version__ = "0.1.0"
