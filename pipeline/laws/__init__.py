"""Laws: fitted forms with intervals, held-out error, and the crossover of two families. numpy and scipy only."""
