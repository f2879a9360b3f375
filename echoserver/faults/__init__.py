"""Faults on purpose: rules, and what each connection meets because of them. Pure: nothing here touches a socket.

Nothing here is imported by a server without rules.
"""
