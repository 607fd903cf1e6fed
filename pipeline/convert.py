"""The verb that takes weights from one layout to another, and out of a study."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.arch import Arch
from pipeline.errors import BadInput, nearest
from pipeline.ledger import Ledger, Outcome, Result
from pipeline.plan import Address
from pipeline.prepared import console, load_config
from pipeline.record import state_key, stored_steps
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.models.checkpoint import Checkpoint


def convert(arguments: Namespace) -> int:
    """SOURCE is a checkpoint file, or the first digits of a trial whose final weights the store keeps."""
    from pipeline.models.checkpoint import open_checkpoint, without_pre_logits, write_checkpoint
    from pipeline.models.layouts import LAYOUTS, usual

    source, target = _files(arguments)
    config = load_config(arguments).config
    if Path(source).suffix or Path(source).exists():
        checkpoint = open_checkpoint(Path(source))
        known = checkpoint.description.arch if checkpoint.description else None
    else:
        checkpoint, known = _trial(Store(config.placement.store), source)
    arch = _agreed(list(config.archs.values()), known, source)
    to = arguments.to or usual(target.suffix, arch)
    if to not in LAYOUTS:
        raise BadInput(f"There is no layout {to!r}: {nearest(to, LAYOUTS)}")
    told = checkpoint.describe(arch)
    told.classes = told.classes if arguments.classes is None else arguments.classes
    if told.classes < 1:
        raise BadInput(f"{source} has no head: put one on with --head zero --classes K.")
    if arguments.image_size is not None:
        told = replace(told, image_size=arguments.image_size, grid=None)
    model = checkpoint.model(arch, told.image_size, told.channels, told.classes, told.grid, arguments.head)
    told.arch = arch if arguments.head == "keep" else without_pre_logits(arch)
    write_checkpoint(target, model, told, to)
    count = sum(p.numel() for p in model.parameters())
    shape = f"{told.classes} classes, {told.image_size} px"
    console.print(f"{checkpoint.layout.name} -> {to}: {count:,} parameters, {shape}, in {target}", markup=False)
    return 0


def _files(arguments: Namespace) -> tuple[str, Path]:
    """SOURCE and TARGET, which are left out of the words."""
    files = [w for w in arguments.words if "=" not in w]
    if len(files) != 2:
        raise BadInput("Say what and where to: crossover convert SOURCE TARGET arch=PRESET --to LAYOUT.")
    arguments.words = [w for w in arguments.words if "=" in w]
    return files[0], Path(files[1])


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
    from pipeline.models.layouts.own import Own, parse_arch
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
    return Checkpoint(f"Trial {digest[:12]}", state.model, Own()), arch


def _with_weights(result: Result | None, digest: str) -> Result:
    if result is None or result.outcome is not Outcome.done:
        raise BadInput(f"Trial {digest[:12]} has no weights: it failed or diverged.")
    if result.trial.get("protocol", {}).get("is") == "FewShot":
        raise BadInput(f"Trial {digest[:12]} is few-shot and trains no weights: name the trial it rests on.")
    return result
