"""Agents: each learns from one transition at a time and keeps nothing else."""
