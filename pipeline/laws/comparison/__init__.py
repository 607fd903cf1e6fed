"""Comparison: the analysis of a study, from its runs (``rows``) to a sentence (``headline``): see ``analysis``."""
