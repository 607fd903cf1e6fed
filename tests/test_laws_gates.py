"""Gates refuse in one sentence; what they let through is not theirs to change."""

import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.laws import gates
from pipeline.laws.forms import FORMS


def test_an_optimum_on_the_edge_of_the_grid_is_refused() -> None:
    assert gates.bracketed([3.0, 1.0, 2.0], [5.0, 4.0, 1.0]) == 2
    with pytest.raises(BadInput, match=r"The best learning rate lies on the edge of its grid, at the smallest value 1"):
        gates.bracketed([3.0, 1.0, 2.0], [5.0, 0.5, 1.0], "the best learning rate")
    with pytest.raises(BadInput, match=r"at the largest value 3 of 1 to 3: run larger ones"):
        gates.bracketed([3.0, 1.0, 2.0], [0.1, 0.5, 1.0])
    with pytest.raises(BadInput, match="on the edge"):
        gates.bracketed([1.0], [2.0])


@pytest.mark.parametrize("form", FORMS.values(), ids=str)
def test_two_places_more_than_parameters_are_asked(form: object) -> None:
    from pipeline.laws.forms import Form

    assert isinstance(form, Form)
    random = np.random.default_rng(0)
    x = random.uniform(1, 9, (form.size + 2, len(form.inputs)))
    gates.enough(form, x)
    with pytest.raises(BadInput, match=f"needs {form.size + 2} distinct places, and vit has {form.size + 1}"):
        gates.enough(form, np.concatenate([x[:-1], x[:-1]]), "vit")


def test_names_of_unfinished_runs_are_few() -> None:
    gates.finished({"a": "done", "b": "Finished", "c": "diverged"})
    with pytest.raises(BadInput, match=r"5 runs of 6 not finished: b \(running\), c \(running\), d .* and 2 more"):
        gates.finished({"a": "done", **dict.fromkeys("bcdef", "running")})
