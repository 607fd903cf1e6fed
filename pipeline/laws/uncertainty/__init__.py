"""Uncertainty: clusters of runs, their scatter, and the intervals that follow."""
