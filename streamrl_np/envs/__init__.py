"""Environments, and the normalisation of what they show."""
