"""The same work on each of the server's models, side by side: `python -m bench.duel`, or `make duel`.

It shows which model suits which kind of handler, and why: what the threads do meanwhile is drawn below the figures.
"""
