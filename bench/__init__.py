"""The benchmark `python -m bench`: echoserver and other servers under the same load."""
