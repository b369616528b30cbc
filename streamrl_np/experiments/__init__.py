"""Experiments: settings, the run loop, the runner, checkpoints, results and plots."""
