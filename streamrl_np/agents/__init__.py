"""Agents: each learns from one transition at a time and keeps nothing else, but for PPO.

``stream`` holds what the streaming ones share, ``rollout`` what PPO keeps; every other module is
one update.
"""
