"""IsoFLOPs: the best model size and data for a compute, by profiles, by a surface, and the Pareto hull."""
