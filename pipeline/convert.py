"""The verb that takes weights from one layout to another, and out of a study."""

import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.arch import Arch, External, ResNet
from pipeline.errors import BadInput, nearest
from pipeline.ledger import Ledger, Outcome, Result
from pipeline.plan import Address
from pipeline.prepared import console, load_config
from pipeline.record import state_key, stored_steps
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.models.checkpoint import Checkpoint
    from pipeline.models.layouts.own import Description


def convert(arguments: Namespace) -> int:
    """SOURCE is a checkpoint file, or the first digits of a trial whose final weights the store keeps."""
    from pipeline.models.checkpoint import check_suffix, open_checkpoint, without_pre_logits, write_checkpoint
    from pipeline.models.layouts import LAYOUTS, usual
    from pipeline.models.layouts.arrays import check_target

    source, target = _files(arguments)
    config = load_config(arguments).config
    if arguments.to and arguments.to not in LAYOUTS:
        raise BadInput(f"There is no layout {arguments.to!r}: {nearest(arguments.to, LAYOUTS)}")
    check_target(target)
    if Path(source).suffix or Path(source).exists():
        checkpoint = open_checkpoint(Path(source), _grid(arguments.source_grid))
        known = checkpoint.description.arch if checkpoint.description else None
    else:
        checkpoint, known = _trial(Store(config.placement.store), source)
    arch = _agreed(list(config.archs.values()), known, source)
    to = arguments.to or usual(target.suffix, arch)
    check_suffix(target, to)
    told = _wanted(checkpoint.describe(arch), arguments, source)
    model = checkpoint.model(arch, told.image_size, told.channels, told.classes, told.grid, arguments.head)
    told.arch = without_pre_logits(arch) if arguments.head == "zero" else arch
    write_checkpoint(target, model, told, to)
    count = sum(p.numel() for p in model.parameters())
    shape = f"{told.classes} classes, " + (
        f"a grid of {told.grid[0]}x{told.grid[1]}" if told.grid else f"{told.image_size} px"
    )
    console.print(f"{checkpoint.layout.name} -> {to}: {count:,} parameters, {shape}, in {target}", markup=False)
    return 0


def _files(arguments: Namespace) -> tuple[str, Path]:
    """SOURCE and TARGET, which are left out of the words."""
    files = [w for w in arguments.words if "=" not in w or Path(w).is_file()]
    if len(files) != 2:
        raise BadInput("Say what and where to: crossover convert SOURCE TARGET arch=PRESET --to LAYOUT.")
    source, target = (Path(f) for f in files)
    if source.is_file() and target.is_file() and source.samefile(target):
        raise BadInput(f"{target} is SOURCE itself: name another TARGET.")
    arguments.words = [w for w in arguments.words if w not in files]
    return files[0], target


def _grid(text: str | None) -> tuple[int, int] | None:
    """ROWSxCOLUMNS of tokens."""
    if text is None:
        return None
    if not (found := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)):
        raise BadInput(f"A grid is ROWSxCOLUMNS of tokens, for example 12x24, not {text!r}.")
    return int(found[1]), int(found[2])


def _wanted(told: "Description", arguments: Namespace, source: str) -> "Description":
    """What the target shall be of."""
    classes, size, grid = arguments.classes, arguments.image_size, _grid(arguments.grid)
    if classes is not None and classes < 1:
        raise BadInput(f"--classes must be positive, not {classes}.")
    if not (classes or told.classes):
        raise BadInput(f"{source} has no head: put one on with --head zero --classes K.")
    if size is not None and grid:
        raise BadInput("--image-size and --grid say the same thing twice: give one of them.")
    if grid and isinstance(told.arch, ResNet | External):
        raise BadInput(f"--grid is for position embeddings, which arch={told.arch.kind} does not have: leave it out.")
    told = replace(told, classes=classes or told.classes, grid=grid or told.grid)
    return told if size is None else replace(told, image_size=size, grid=None)


def _agreed(given: list[Arch], known: Arch | None, source: str) -> Arch:
    """The Arch given on the line, or the one that the source itself tells."""
    if len(given) > 1:
        raise BadInput("Weights are of one arch: give a single arch=PRESET.")
    if not given and known is None:
        raise BadInput(f"{source} does not say which arch it is of: give arch=PRESET, for example arch=vit_b16.")
    if given and known is not None and given[0] != known:
        raise BadInput(f"{source} is of {known}, not of the arch given: leave arch= out.")
    return known or given[0]


def _trial(store: Store, prefix: str) -> tuple["Checkpoint", Arch]:
    """The final weights of a recorded trial. Raises BadInput when it has none."""
    from pipeline.models.checkpoint import Checkpoint, without_pre_logits
    from pipeline.models.layouts.own import Description, Own, parse_arch
    from pipeline.training.state import read_state

    digest = Ledger(store).find(prefix)
    result = _with_weights(Ledger(store).get(digest), digest)
    steps = stored_steps(store, digest)
    state = read_state(store, state_key(Address(digest, max(steps)).key)) if steps else None
    if state is None:
        raise BadInput(f"The state of trial {digest[:12]} is gone from {store.describe('states')}.")
    pretrain = result.trial.get("parent", result.trial)
    arch = parse_arch(pretrain["arch"])
    if pretrain is not result.trial:
        arch = without_pre_logits(arch)
    facts = result.facts
    sizes = [facts[name] for name in ("image_size", "channels", "classes") if name in facts]
    told = Description(arch, *sizes) if sizes else None  # older Results do not say
    return Checkpoint(f"Trial {digest[:12]}", state.model, Own(), told), arch


def _with_weights(result: Result | None, digest: str) -> Result:
    if result is None or result.outcome is not Outcome.done:
        raise BadInput(f"Trial {digest[:12]} has no weights: it failed or diverged.")
    if result.trial.get("protocol", {}).get("is") == "FewShot":
        raise BadInput(f"Trial {digest[:12]} is few-shot and trains no weights: name the trial it rests on.")
    return result
