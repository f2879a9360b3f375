"""Serving connections, from the accept to the close."""
