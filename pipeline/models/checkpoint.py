"""Checkpoint: the paper's models read from and written to files, other programs' and our own (docs/checkpoints.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.arch import FAMILIES, Arch, Hybrid, Pool, ResNet, ViT
from pipeline.errors import BadInput
from pipeline.models.build import build
from pipeline.models.layouts import LAYOUTS, Layout, detect
from pipeline.models.layouts.arrays import read_arrays, write_arrays
from pipeline.models.layouts.bit_npz import plain
from pipeline.models.layouts.match import holds, match
from pipeline.models.layouts.own import Description, Own, parse_description
from pipeline.models.positions import POSITIONS, Grid, grid_of, pixels, resize, square

DESCRIPTION = "crossover_model"
"""Metadata key of our own files."""
HEADS = ("keep", "zero")


@dataclass
class Checkpoint:
    """The arrays of one file, or of a finished trial, and the layout they are in."""

    where: str
    """For people."""
    arrays: Mapping[str, Tensor]
    layout: Layout
    description: Description | None = None
    """Of our own files."""
    grid: Grid | None = None
    """Rows and columns of its position embeddings, where it is known that they are no square."""

    def model(
        self,
        arch: Arch,
        image_size: int,
        channels: int,
        classes: int,
        grid: Grid | None = None,
        head: str = "keep",
    ) -> nn.Module:
        """The weights in a model; see ``load_checkpoint``."""
        fresh = _is_zero(head)
        arch = without_pre_logits(arch) if fresh else arch
        model = _empty(arch, image_size, channels, classes)
        wanted: dict[str, Tensor] = model.state_dict()
        if POSITIONS in wanted:
            wanted[POSITIONS] = self._positions(arch, wanted)
        zeros = {name: torch.zeros(wanted[name].shape) for name in _head_names(model)} if fresh else {}
        state = match(self.arrays, self.layout, arch, wanted, self.where, zeros) | zeros
        if POSITIONS in state:
            assert isinstance(arch, ViT | Hybrid) and isinstance(model.encoder, nn.Module)
            new = grid or grid_of(arch, image_size)
            assert new is not None
            state[POSITIONS] = self._resized(state[POSITIONS], new, self.grid, arch.pool is Pool.cls)
            model.encoder.pos_embed = nn.Parameter(state[POSITIONS].to("meta"))
        model.load_state_dict(state, assign=True)
        return model

    def describe(self, arch: Arch) -> Description:
        """What the weights are of. Where no description says so, the arrays tell classes, channels and positions.

        The image size is the one that fits the positions; a ResNet takes any, and 224 stands for it. Raises BadInput
        when the file does not fit the arch.
        """
        if self.description:
            return self.description
        if not isinstance(arch, ViT | Hybrid | ResNet):
            raise BadInput(
                f"{self.where} does not say what images it takes, which no rule tells for arch={arch.kind}: "
                f"only {', '.join(FAMILIES)} are converted from such files."
            )
        wanted = _empty(arch, _some_image(arch), 3, 1).state_dict()
        entries = list(self.layout.entries(arch, wanted.keys()))
        head = holds(self.arrays, entries, "head.bias")
        first = next(n for n in ("stem.root.weight", "backbone.root.weight", "embed.weight") if n in wanted)
        kernel = holds(self.arrays, entries, first)
        if kernel is None or kernel[1].ndim != 4:
            raise BadInput(f"{self.where} has no {first.replace('.', '/')} for this arch: check arch=.")
        size = _some_image(arch)
        if POSITIONS in wanted:
            assert isinstance(arch, ViT | Hybrid)
            grid = self.grid or square(self._positions(arch, wanted).shape[1] - (arch.pool is Pool.cls))
            size = grid[0] * pixels(arch) if grid else size
        classes = head[1].shape[0] if head and head[1].ndim == 1 else 0
        return Description(arch, size, kernel[0].read([kernel[1]])[0].shape[1], classes, self.grid)

    def _positions(self, arch: Arch, wanted: Mapping[str, Tensor]) -> Tensor:
        """Positions (1, T, D) on the meta device, T as in the file, if that has any."""
        entries = list(self.layout.entries(arch, wanted.keys()))
        found = holds(self.arrays, entries, POSITIONS)
        if found is None or found[1].ndim != 3:
            return wanted[POSITIONS]
        entry, array = found
        tokens = array.shape[1] + len(entry.ours) - 1  # a folded entry makes a row for the class token
        return torch.empty(1, tokens, wanted[POSITIONS].shape[2], device="meta")

    def _resized(self, positions: Tensor, new: Grid, old: Grid | None, cls: bool) -> Tensor:
        try:
            return resize(positions, new, old, cls)
        except BadInput as error:
            raise BadInput(f"{self.where}: {error}") from error


def open_checkpoint(path: Path, grid: Grid | None = None) -> Checkpoint:
    """``grid`` is that of its positions, if no square. Raises BadInput for a file damaged or of no known layout."""
    arrays, metadata = read_arrays(path)
    if text := metadata.get(DESCRIPTION):
        told = parse_description(text, str(path))
        return Checkpoint(str(path), arrays, Own(), told, told.grid)
    numbered, arrays = arrays, {plain(key): value for key, value in arrays.items()}
    if len(arrays) < len(numbered):
        raise BadInput(f"{path} numbers two layers alike but for a number: take a whole file.")
    return Checkpoint(str(path), arrays, detect(arrays, str(path), grid), grid=grid)


def load_checkpoint(
    path: Path,
    arch: Arch,
    image_size: int,
    channels: int,
    classes: int,
    grid: Grid | None = None,
    head: str = "keep",
    old_grid: Grid | None = None,
) -> nn.Module:
    """The model of a checkpoint file of any layout, in fp32 on the CPU.

    ``grid`` is (rows, columns) of tokens, for images that are not square; position embeddings are interpolated to it
    from ``old_grid``, which is square unless given. ``head="keep"`` wants the file's head for so many classes;
    ``"zero"`` puts a fresh zero layer in the place of both layers of the old one (arXiv 2010.11929, section 3.2).
    Raises BadInput naming the key, its shape and the shape wanted.
    """
    return open_checkpoint(path, old_grid).model(arch, image_size, channels, classes, grid, head)


def save_model(
    path: Path, model: nn.Module, arch: Arch, image_size: int, channels: int, classes: int, grid: Grid | None = None
) -> None:
    """Our own layout: safetensors that say what they are of. ``grid`` where the model's is not a square image's."""
    write_checkpoint(path, model, Description(arch, image_size, channels, classes, grid), "crossover")


def load_model(path: Path) -> tuple[nn.Module, Description]:
    """What ``save_model`` wrote. Raises BadInput for a file without a description."""
    checkpoint = open_checkpoint(path)
    told = checkpoint.description
    if told is None:
        raise BadInput(f"{path} does not say what it is of: `crossover convert` it first, or use load_checkpoint.")
    return checkpoint.model(told.arch, told.image_size, told.channels, told.classes, told.grid), told


def write_checkpoint(path: Path, model: nn.Module, told: Description, to: str) -> None:
    """A model as a file in one of ``LAYOUTS``. Raises BadInput when the layout cannot hold it, or the model is not what
    it is told to be."""
    layout = LAYOUTS[to]
    check_suffix(path, to)
    state = model.state_dict()
    _check_told(state, told)
    entries = list(layout.entries(told.arch, state.keys()))
    arrays = {
        key: array
        for entry in entries
        for key, array in zip(entry.theirs, entry.write([state[n] for n in entry.ours]), strict=True)
    }
    write_arrays(path, arrays, {DESCRIPTION: told.to_json()} if to == "crossover" else {})


def check_suffix(path: Path, to: str) -> None:
    suffixes = LAYOUTS[to].suffixes
    if path.suffix not in suffixes:
        raise BadInput(f"The {to} layout is written to {' or '.join(suffixes)}, not {path.name}.")


def without_pre_logits(arch: Arch) -> Arch:
    """As fine-tuning leaves it."""
    return replace(arch, pre_logits=False) if isinstance(arch, ViT | Hybrid) else arch


def _check_told(state: Mapping[str, Tensor], told: Description) -> None:
    """The shapes of the weights against those of the description."""
    wanted: dict[str, Tensor] = _empty(told.arch, told.image_size, told.channels, told.classes).state_dict()
    if POSITIONS in wanted and told.grid:
        _, tokens, width = wanted[POSITIONS].shape
        tokens += told.grid[0] * told.grid[1] - (tokens - ("encoder.cls" in wanted))
        wanted[POSITIONS] = torch.empty(1, tokens, width, device="meta")
    for name in sorted(state.keys() | wanted.keys()):
        found, due = (tuple(s[name].shape) if name in s else "none" for s in (state, wanted))
        if found != due:
            raise BadInput(f"The model is not what it is told to be: its {name} has the shape {found}, not {due}.")


def _head_names(model: nn.Module) -> list[str]:
    """Of the parameters of its last layer, wherever that lies."""
    assert isinstance(model.head, nn.Linear)
    head = list(model.head.parameters())
    return [n for n, p in model.named_parameters(remove_duplicate=False) if any(p is h for h in head)]


def _is_zero(head: str) -> bool:
    if head not in HEADS:
        raise BadInput(f"head={head} is neither keep nor zero.")
    return head == "zero"


def _empty(arch: Arch, image_size: int, channels: int, classes: int) -> nn.Module:
    """The model without memory for its weights; an external one may have buffers that only it knows to fill."""
    with torch.device("meta" if type(arch) in FAMILIES.values() else "cpu"):
        return build(arch, image_size, channels, classes, seed=0)


def _some_image(arch: ViT | Hybrid | ResNet) -> int:
    """A size that the arch takes: 224, or what is near."""
    return pixels(arch) * max(2, 224 // pixels(arch))
