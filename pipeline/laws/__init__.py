"""Laws: fitted forms with intervals, held-out error, and the crossover of two families. numpy and scipy only.

``forms`` (the registry), ``uncertainty`` (intervals), ``tables`` (any table, without a study) and ``isoflops`` (the
best model size for a compute) are packages of their own. Here: estimation (``problem``, ``solver``, ``fit``,
``ensemble``, ``rollout``), the place of a crossover (``reach``, ``posterior``, ``multiplier``), the analysis of a study
(``rows`` to ``analysis``) and the choice of its next trials (``design``, ``batch``, ``power``).
"""
