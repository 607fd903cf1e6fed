"""Laws: fitted forms with intervals, held-out error, and the crossover of two families. numpy and scipy only.

Here: estimation (``problem``, ``solver``, ``fit``, ``groups``, ``ensemble``, ``rollout``), the place of a crossover
(``reach``, ``pair``, ``posterior``, ``verdict``, ``multiplier``) and the choice of the next trials (``design``,
``batch``, ``power``). Packages: ``forms`` (the registry), ``uncertainty`` (intervals), ``tables`` (any table, without a
study), ``isoflops`` (the best model size for a compute) and ``comparison`` (the analysis of a study).
"""
