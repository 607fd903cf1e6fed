"""y = E + b x^-c0 prod_i (1 + (x/d_i)^(1/f_i))^(-c_i f_i): a smoothly broken power law.

Caballero et al. 2023, equation 1.
"""

import numpy as np

from pipeline.laws.forms.base import FLOOR, LOG_FACTOR, Array, Form, fit_sum, product

SLOPE = (-3.0, 5.0)
PLACE = (-30.0, 30.0)
WIDTH = (0.05, 4.0)


class Broken(Form):
    """theta: E, ln b, c0, then c, ln d and f of each break."""

    breaks: int

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        x = u[..., 0]
        floor, b, c0 = (theta[..., i : i + 1] for i in range(3))
        value, rows = b - c0 * x, []
        for i in range(self.breaks):
            c, d, f = (theta[..., 3 + 3 * i + j : 4 + 3 * i + j] for j in range(3))
            t = (x - d) / f
            soft = np.logaddexp(0.0, t)
            share = np.exp(t - soft)
            value = value - c * f * soft
            rows += [-f * soft, c * share, -c * (soft - t * share)]
        falling = np.exp(np.clip(value, -300.0, 300.0))
        total = floor + falling
        part = falling / total
        gradient = [1.0 / total, part, -x * part, *(row * part for row in rows)]
        return np.log(total), np.stack(np.broadcast_arrays(*gradient), axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        """Grid columns: c0, then c, place (0 first point, 1 last) and f of each break."""
        grid = self.grid if grid is None else grid
        x, used = u[:, None, :, 0], w > 0
        first, last = np.where(used, x[:, 0], np.inf).min(-1), np.where(used, x[:, 0], -np.inf).max(-1)
        shape = (len(v), len(grid))
        power, rest = -grid[:, :1] * x, []
        for i in range(self.breaks):
            c, share, f = (grid[:, 1 + 3 * i + j] for j in range(3))
            d = first[:, None] + share * (last - first)[:, None]
            power = power - (c * f)[:, None] * np.logaddexp(0.0, (x - d[..., None]) / f[:, None])
            rest += [np.broadcast_to(c, shape), d, np.broadcast_to(f, shape)]
        factor = fit_sum(np.stack([np.zeros_like(power), power], axis=-1), v, w)
        return np.stack([np.exp(factor[..., 0]), factor[..., 1], np.broadcast_to(grid[:, 0], shape), *rest], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        out, x0 = np.array(theta, dtype=float), centre[..., 0]
        out[..., 0] = theta[..., 0] * np.exp(offset)
        out[..., 1] = np.exp(theta[..., 1] + offset + theta[..., 2] * x0)
        for i in range(self.breaks):
            out[..., 4 + 3 * i] = np.exp(theta[..., 4 + 3 * i] + x0)
        return out

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        out, x0 = np.array(params, dtype=float), centre[..., 0]
        out[..., 0] = params[..., 0] * np.exp(-offset)
        out[..., 1] = np.log(params[..., 1]) - offset - params[..., 2] * x0
        for i in range(self.breaks):
            out[..., 4 + 3 * i] = np.log(params[..., 4 + 3 * i]) - x0
        return out

    def inverse(self, theta: Array, v: float) -> Array:
        """The last place in +-30 of the centre at which the curve falls to v; infinity without one."""
        u = np.linspace(*PLACE, 2001)
        value, _ = self.log(np.asarray(theta), u[:, None])
        falls = (value[..., :-1] > v) & (value[..., 1:] <= v)
        last = value.shape[-1] - 2 - np.argmax(falls[..., ::-1], axis=-1)
        before, after = (np.take_along_axis(value, (last + k)[..., None], -1)[..., 0] for k in (0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (before - v) / (before - after)
        return np.where(falls.any(-1), u[last] + share * (u[1] - u[0]), np.inf)


class Bnsl1(Broken):
    name = "bnsl1"
    breaks = 1
    parameters = ("E", "b", "c0", "c1", "d1", "f1")
    latex = r"E + b x^{-c_0} (1 + (x/d_1)^{1/f_1})^{-c_1 f_1}"
    units = ("y", "y x^c0", "1", "1", "x", "1")
    bounds = (FLOOR, LOG_FACTOR, SLOPE, SLOPE, PLACE, WIDTH)

    @property
    def grid(self) -> Array:
        return product([0.0, 0.05, 0.15, 0.3, 0.6], [-0.2, 0.1, 0.3, 0.7, 1.5], [0.1, 0.35, 0.6, 0.85], [0.2, 0.6, 1.5])


class Bnsl2(Broken):
    name = "bnsl2"
    breaks = 2
    parameters = ("E", "b", "c0", "c1", "d1", "f1", "c2", "d2", "f2")
    latex = r"E + b x^{-c_0} (1 + (x/d_1)^{1/f_1})^{-c_1 f_1} (1 + (x/d_2)^{1/f_2})^{-c_2 f_2}"
    units = ("y", "y x^c0", "1", "1", "x", "1", "1", "x", "1")
    bounds = (FLOOR, LOG_FACTOR, SLOPE, SLOPE, PLACE, WIDTH, SLOPE, PLACE, WIDTH)

    @property
    def grid(self) -> Array:
        return product([0.02, 0.2, 0.5], [-0.2, 0.2, 0.6], [0.15, 0.4], [0.4], [-0.3, 0.2, 0.6], [0.6, 0.85], [0.4])
