"""Peers of the cold start alone: the naive functions that no other figure needs, and the minimal one.

The naive ones are written like `bench.peers.naive_stop_task`: clients at module level, one call after another.
"""
