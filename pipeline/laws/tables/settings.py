"""Settings: how a table is to be fitted."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.errors import BadInput, nearest
from pipeline.laws.forms import FORMS, Array, form_named

ENSEMBLE = "ensemble"
BOOTSTRAPS = ("", "run", "wild")
LEVEL, DRAWS = 0.95, 1000
LEAST_DRAWS, MOST_DRAWS = 20, 100_000
ENVELOPE = 10.0
"""How many times a point below the curve counts where the lower envelope is asked for."""


@dataclass(frozen=True)
class Settings:
    """``form`` is a name of FORMS or ensemble; "" is the ensemble for one input, else the first form of so many."""

    form: str = ""
    kind: str = "loss"
    delta: float | None = None
    """Of Huber's loss in ln y; None: 1.345 x the scatter."""
    level: float = LEVEL
    draws: int = DRAWS
    bootstrap: str = ""
    """run, wild, or "": profile likelihood, and for draws whichever suits the number of configurations."""
    envelope: bool = False
    seed: int = 0
    share: tuple[str, ...] = ()
    """Parameters of the form that all groups have in common."""
    predict: tuple[float, ...] = ()
    """Places to predict; of several inputs, their values one place after the other."""

    @property
    def over(self) -> float:
        return ENVELOPE if self.envelope else 1.0

    @property
    def top(self) -> float:
        """Upper bound of what is fitted."""
        return np.inf if self.kind == "loss" else 1.0

    @property
    def resampling(self) -> dict[str, Any]:
        """Of intervals and draws."""
        return {"method": self.bootstrap or "auto", "draws": self.draws, "seed": self.seed}

    def places(self, inputs: int) -> Array:
        """[k, d]"""
        if len(self.predict) % inputs:
            raise BadInput(f"A place has {inputs} inputs, and --predict has {len(self.predict)} numbers: give all.")
        return np.array(self.predict, dtype=float).reshape(-1, inputs)

    def check(self, inputs: int) -> None:
        """Raises BadInput for what cannot be meant, for a form of so many inputs."""
        if self.bootstrap not in BOOTSTRAPS:
            raise BadInput(f"There is no bootstrap {self.bootstrap!r}: {nearest(self.bootstrap, BOOTSTRAPS[1:])}")
        if not 0 < self.level < 1:
            raise BadInput(f"The level of an interval lies between 0 and 1, not at {self.level:g}.")
        if not LEAST_DRAWS <= self.draws <= MOST_DRAWS:
            raise BadInput(f"Take {LEAST_DRAWS} to {MOST_DRAWS:,} draws, not {self.draws:,}.")
        if self.delta is not None and not 0 < self.delta < np.inf:
            raise BadInput(f"Huber's delta is a positive number in ln y, such as 0.001, not {self.delta:g}.")
        if not 0 <= self.seed < 2**63:
            raise BadInput(f"A seed is a whole number from 0 up, not {self.seed}.")
        if self.envelope and self.form == ENSEMBLE:
            raise BadInput("An ensemble has no envelope: name one form with --form.")
        if self.share and self.form == ENSEMBLE:
            raise BadInput("The forms of an ensemble share no parameters: name one form with --form.")
        self.places(inputs)
        if bad := [x for x in self.predict if not 0 < x < np.inf]:
            raise BadInput(f"A law is asked at positive places, not at {bad[0]:g}: mend --predict.")

    def plain(self) -> dict[str, Any]:
        """For the document."""
        return {
            **asdict(self),
            "predict": list(self.predict),
            "share": list(self.share),
            "loss": "sum of Huber terms on residuals of ln y",
        }


def form_for(form: str, inputs: int) -> str:
    """The form to fit. Raises BadInput for a name that is none, and for one with another number of inputs."""
    fitting = [name for name, f in FORMS.items() if len(f.inputs) == inputs]
    if not form and inputs > 1 and fitting:
        return fitting[0]
    if form in ("", ENSEMBLE) and inputs == 1:
        return ENSEMBLE
    if form in ("", ENSEMBLE) and not fitting:
        raise BadInput(f"No form has {inputs} inputs: name fewer columns with --x.")
    if form != ENSEMBLE and form not in FORMS:
        raise BadInput(f"There is no form {form!r}: {nearest(form, [*FORMS, ENSEMBLE])}")
    wanted = ("x",) if form == ENSEMBLE else form_named(form).inputs
    if len(wanted) != inputs:
        also = f"; of {inputs}: {', '.join(fitting)}" if fitting else ""
        raise BadInput(f"{form} has the inputs {', '.join(wanted)}, and --x names {inputs}: name as many{also}.")
    return form
