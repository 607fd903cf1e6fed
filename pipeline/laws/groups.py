"""Groups: one form fitted to several families at once, with some of its parameters in common."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws.fit import Fit, columns, fit
from pipeline.laws.forms import Array, Form, form_named
from pipeline.laws.forms.grouped import Grouped, shared
from pipeline.laws.points import distinct


@dataclass(frozen=True)
class GroupFit:
    """``joint`` has every parameter, the shared ones once; its last input is the group, 1 for the first of them."""

    joint: Fit
    form: Grouped
    groups: tuple[str, ...]
    members: tuple[np.ndarray, ...]
    """Which points are of each group."""

    def of(self, group: str) -> Fit:
        """The curve of one group as a fit of its own form, with the shared parameters in it.

        Raises KeyError for a group that is none of these. Status and condition are those of the whole.
        """
        if group not in self.groups:
            raise KeyError(group)
        i, joint = self.groups.index(group), self.joint
        theta, centre = self.form.of(joint.theta, i), joint.centre[:-1]
        natural = self.form.form.natural(theta, centre, joint.offset)
        params = dict(zip(self.form.form.parameters, map(float, natural), strict=True))
        residuals = joint.residuals[self.members[i]]
        return replace(joint, form=self.form.form, theta=theta, centre=centre, params=params, residuals=residuals)

    def placed(self, group: str, x: ArrayLike) -> Array:
        """Places x [n] or [n, d] of one group as ``joint`` takes them, [n, d + 1]."""
        xs = columns(x, len(self.form.form.inputs))
        return np.column_stack([xs, np.full(len(xs), 1.0 + self.groups.index(group))])


def fit_groups(
    x: ArrayLike,
    y: ArrayLike,
    group: Sequence[str],
    form: str | Form = "power_floor",
    share: Sequence[str] = (),
    weights: ArrayLike | None = None,
    delta: float | None = None,
    over: float = 1.0,
    seed: int = 0,
) -> GroupFit:
    """Fit ``form`` to x [n] or [n, d] and y [n] of several groups, ``group`` [n] their names, ``share`` in common.

    The groups stand in the order of their names. Raises BadInput as ``fit`` does, for a parameter that cannot be
    shared, and for a group with fewer places than it has parameters of its own + 1.
    """
    chosen = form if isinstance(form, Form) else form_named(form)
    names = np.asarray(group, dtype=str)
    groups = tuple(str(name) for name in np.unique(names))
    whole = shared(chosen, groups, share)
    xs = columns(x, len(chosen.inputs))
    if len(names) != len(xs):
        raise BadInput(f"A fit of groups needs a group of every point, not {len(names)} for {len(xs)} points.")
    members = tuple(np.flatnonzero(names == name) for name in groups)
    for name, part in zip(groups, members, strict=True):
        own = chosen.size - len(whole.share)
        places = distinct(xs[part][(xs[part] > 0).all(1)])
        if places < own + 1:
            raise BadInput(
                f"Cannot fit {chosen.name} to {name}: with {own} parameters of its own it needs {own + 1} distinct "
                f"places on the axis, not {places}."
            )
    index = 1.0 + np.searchsorted(np.array(groups), names)
    joint = fit(np.column_stack([xs, index]), y, whole, weights, delta, over, seed)
    return GroupFit(joint, whole, groups, members)
