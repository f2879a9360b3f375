"""The version of echoserver, which the package and its parts show."""

__version__ = "0.1.0"
