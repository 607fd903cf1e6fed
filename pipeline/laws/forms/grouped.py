"""One form for several groups at once, some of its parameters shared: the last input is the group, 1 to G.

The parameters are those of the form, once where they are shared and once for every group where they are not
(``alpha``, ``A[vit]``, ``A[resnet]``). With an exponent shared between families their curves differ in level alone;
with a floor shared they tend to the same limit.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.errors import BadInput, nearest
from pipeline.laws.forms.base import Array, Form

BEST = 8
"""Rows of the grid tried that are best for each group alone."""


class Grouped(Form):
    def __init__(self, form: Form, groups: Sequence[str], share: Sequence[str]) -> None:
        self.form, self.groups, self.share = form, tuple(groups), tuple(share)
        own = [i for i, name in enumerate(form.parameters) if name not in share]
        common = [i for i, name in enumerate(form.parameters) if name in share]
        self.order = [*common, *own * len(groups)]
        """Which parameter of the form each of theta is."""
        self.columns = np.empty((len(groups), form.size), dtype=int)
        """Where in theta each group [G] has each parameter [p] of the form."""
        self.columns[:, common] = np.arange(len(common))
        self.columns[:, own] = len(common) + np.arange(len(own) * len(groups)).reshape(len(groups), -1)
        named = [form.parameters[i] for i in common]
        self.parameters = (*named, *(f"{form.parameters[i]}[{group}]" for group in groups for i in own))
        self.name = f"{form.name} ({', '.join(named) or 'nothing'} shared)"
        self.inputs = (*form.inputs, "group")
        self.latex, self.bounded = form.latex, form.bounded
        self.units = tuple(form.units[i] for i in self.order)
        self.bounds = tuple(form.bounds[i] for i in self.order)

    @property
    def grid(self) -> Array:
        return self.form.grid

    def centre(self, logs: Array) -> Array:
        return np.append(self.form.centre(logs[:, :-1]), 0.0)

    def of(self, theta: Array, group: int) -> Array:
        """theta [..., p] of one group (from 0) out of all, theta [..., P]."""
        return theta[..., self.columns[group]]

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        group = np.rint(np.exp(u[..., -1])).astype(int) - 1
        axes = max(theta.ndim - 1, group.ndim - 1)
        theta = theta.reshape((1,) * (axes + 1 - theta.ndim) + theta.shape)[..., None, :]
        at = self.columns[group.reshape((1,) * (axes + 1 - group.ndim) + group.shape)]
        each, slope = self.form.log(np.take_along_axis(theta, at, -1), u[..., None, :-1])
        gradient = np.zeros((*each.shape[:-1], self.size))
        np.put_along_axis(gradient, np.broadcast_to(at, slope.shape[:-1]), slope[..., 0], -1)
        return each[..., 0], np.swapaxes(gradient, -1, -2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        """Rows of the form's grid with all groups alike, then every group at the best rows of its own."""
        group, alike, best = np.rint(np.exp(u[..., -1])).astype(int) - 1, [], []
        for i in range(len(self.groups)):
            part = np.where(group == i, w, 0.0)
            each = self.form.starts(u[..., :-1], v, part, grid)
            residual = self.form.log(each, u[:, None, :, :-1])[0] - v[:, None]
            worth = (part[:, None] * residual**2).sum(-1)
            worth = np.where(np.isfinite(worth), worth, np.inf)
            alike.append(each)
            order = worth.argsort(1, kind="stable")[:, :BEST]
            best.append(np.take_along_axis(each, order[..., None], 1))
        weight = np.stack([np.where(group == i, w, 0.0).sum(-1) for i in range(len(self.groups))], -1)
        return np.concatenate([self._joined(np.stack(rows, -2), weight) for rows in (alike, best)], axis=1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        each = self.form.natural(theta[..., self.columns], centre[..., None, :-1], np.asarray(offset)[..., None])
        return self._joined(each)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        each = self.form.internal(params[..., self.columns], centre[..., None, :-1], np.asarray(offset)[..., None])
        return self._joined(each)

    def _joined(self, each: Array, weight: Array | None = None) -> Array:
        """Parameters of every group [..., G, p] as one theta [..., P]: of what is shared, the (weighted) mean."""
        share = np.ones(len(self.groups)) if weight is None else weight[:, None, :]
        mean = (each * share[..., None]).sum(-2) / share.sum(-1)[..., None]
        out = np.empty((*each.shape[:-2], self.size))
        for i, row in enumerate(self.columns):
            out[..., row] = each[..., i, :]
        common = self.columns[0] < len(self.share)
        out[..., : len(self.share)] = mean[..., common]
        return out


def shared(form: Form, groups: Sequence[str], share: Sequence[str]) -> Grouped:
    """The form for these groups with these parameters in common.

    Raises BadInput for a parameter the form has not, and for one that has no meaning of its own: the factor A of
    A x^-alpha is a number of y x^alpha, and can be the same in two groups only where alpha is.
    """
    for name in share:
        if name not in form.parameters:
            raise BadInput(f"{form.name} has no parameter {name!r} to share: {nearest(name, form.parameters)}")
    for name in share:
        if missing := [other for other in _depends(form, name) if other not in share]:
            raise BadInput(
                f"{name} of {form.name} means the same only along with {', '.join(missing)}: share these too."
            )
    return Grouped(form, groups, [name for name in form.parameters if name in share])


def _depends(form: Form, name: str) -> list[str]:
    """The other parameters that decide what a given theta of this one is in natural units."""
    low, high = (np.array([b[i] for b in form.bounds]) for i in (0, 1))
    theta = 0.4 * np.maximum(low, -0.7) + 0.6 * np.minimum(high, 0.9)
    centre, at = form.centre(np.full((1, len(form.inputs)), 1.3)), form.parameters.index(name)
    base = form.natural(theta, centre, 0.8)[at]
    moved = form.natural(theta + 0.01 * np.eye(form.size), centre, 0.8)[:, at]
    return [other for i, other in enumerate(form.parameters) if i != at and abs(moved[i] - base) > 1e-9 * abs(base)]
