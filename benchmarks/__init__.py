"""Benchmarks: one file a claim, each one command, each a ratio against a named peer in the same run."""
