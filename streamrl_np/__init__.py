"""Streaming reinforcement learning under partial observability, in NumPy.

Read in this order; each module imports only from those above it:

``settings``, ``arrays``, ``layers``, ``cells.rtu`` (beside it the other cells), ``networks``,
``policies``, ``optimizers``, ``agents.stream``, ``agents.actor_critic``, ``envs``,
``experiments.loop``.
"""
