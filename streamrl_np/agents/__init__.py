"""Agents: each learns from one transition at a time and keeps nothing else.

``stream`` holds what they share; every other module is one update.
"""
