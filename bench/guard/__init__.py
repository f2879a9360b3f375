"""The guard `python -m bench.guard`: does a message cost more than it did at a given commit?"""
