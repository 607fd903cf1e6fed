"""Positions: brought to other grids as the official code does, and to grids that are no square."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom
from torch import Tensor

from pipeline.arch import Hybrid, Module, Pool, ResNet, Root, ViT
from pipeline.errors import BadInput
from pipeline.models.positions import grid_of, pixels, resize, square

SIDE = st.integers(1, 9)
GRID = st.tuples(SIDE, SIDE)


def drawn(tokens: int, seed: int = 0, width: int = 3) -> Tensor:
    return torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(seed))


@given(GRID, st.booleans(), st.integers(0, 99))
def test_the_same_grid_changes_nothing(grid: tuple[int, int], cls: bool, seed: int) -> None:
    positions = drawn(grid[0] * grid[1] + cls, seed)
    assert torch.equal(resize(positions, grid, grid, cls), positions)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_square_grids_agree_with_the_official_code(old: int, new: int, cls: bool, seed: int) -> None:
    """``scipy.ndimage.zoom(grid, (new / old, new / old, 1), order=1)``, the class token's entry apart."""
    positions = drawn(old * old + cls, seed)
    grid = positions[0, int(cls) :].reshape(old, old, 3).double().numpy()
    expected = np.asarray(zoom(grid, (new / old, new / old, 1), order=1), np.float64)
    found = resize(positions, (new, new), cls=cls)
    assert torch.equal(found[:, : int(cls)], positions[:, : int(cls)])
    np.testing.assert_allclose(found[0, int(cls) :].reshape(new, new, 3).numpy(), expected, atol=1e-5)


@settings(deadline=None)
@given(GRID, st.tuples(st.integers(2, 9), st.integers(2, 9)), st.booleans())
def test_a_linear_ramp_stays_one(new: tuple[int, int], old: tuple[int, int], cls: bool) -> None:
    """Corner on corner: what is linear in row and column is met exactly at every new place, on any grid."""

    def ramp(grid: tuple[int, int]) -> Tensor:
        rows, columns = (torch.linspace(-1, 1, n, dtype=torch.float64) if n > 1 else -torch.ones(1) for n in grid)
        plane = torch.stack([3 * rows[:, None] + 0 * columns, 0 * rows[:, None] + columns, rows[:, None] - columns], -1)
        return plane.flatten(0, 1)[None].float()

    token = drawn(int(cls))
    found = resize(torch.cat([token, ramp(old)], 1), new, old, cls)
    torch.testing.assert_close(found, torch.cat([token, ramp(new)], 1), rtol=1e-5, atol=1e-5)


@given(GRID, GRID)
def test_rows_and_columns_are_not_mixed_up(old: tuple[int, int], new: tuple[int, int]) -> None:
    """Turning the image turns its positions."""
    positions = drawn(old[0] * old[1])

    def turned(p: Tensor, grid: tuple[int, int]) -> Tensor:
        return p.unflatten(1, grid).transpose(1, 2).flatten(1, 2)

    one = turned(resize(positions, new, old, cls=False), new)
    other = resize(turned(positions, old), (new[1], new[0]), (old[1], old[0]), cls=False)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("tokens", "arguments", "sentence"),
    [
        (6, {"new": (2, 2)}, r"position embeddings of 5 patches, not a square: give the rows and columns"),
        (5, {"new": (2, 2), "cls": False}, "of 5 patches, not a square"),
        (7, {"new": (2, 2), "old": (2, 2)}, "of 6 patches, not 2 x 2"),
        (5, {"new": (0, 2)}, "0 x 2 tokens has none"),
        (1, {"new": (2, 2)}, "of 0 patches, not a square"),
    ],
)
def test_positions_that_do_not_fit(tokens: int, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        resize(drawn(tokens), **arguments)


@given(st.integers(-5, 1000))
def test_squares(rows: int) -> None:
    sides = [n for n in range(1, 40) if n * n == rows]
    assert square(rows) == ((sides[0], sides[0]) if sides else None)


def test_grids_of_archs() -> None:
    assert grid_of(ViT(patch=16), 224) == grid_of(ViT(patch=16, pool=Pool.mean), 224) == (14, 14)
    assert grid_of(Hybrid([3, 4, 9]), 384) == (24, 24)
    assert grid_of(Hybrid([], patch=8), 224) == (7, 7)
    assert grid_of(ResNet(), 224) is grid_of(Module(target="a.B"), 224) is None


@pytest.mark.parametrize(
    "arch",
    [ViT(patch=16), Hybrid([3, 4, 9]), Hybrid([3, 4, 6, 3]), Hybrid([], patch=8), Hybrid([1, 1], root=Root.small)],
)
def test_pixels_of_a_token(arch: ViT | Hybrid) -> None:
    side = pixels(arch)
    assert grid_of(arch, 5 * side) == (5, 5)
