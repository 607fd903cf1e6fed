"""Tasks: Table 4 as a grid of trials, and images of another size than the parent's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import ARCHS, plan_of, recipe, run_all

from data_prep.prepare import prepare
from data_prep.sources import DigitsSource
from pipeline.arch import Arch, Counts, External, Module, Timm, ViT
from pipeline.config import load
from pipeline.data.reader import Reader
from pipeline.errors import BadInput
from pipeline.job import Home
from pipeline.ledger import Ledger
from pipeline.models.build import build
from pipeline.models.positions import POSITIONS, resize
from pipeline.plan import Work
from pipeline.recipe import MomentumDtype, Optimizer, Recipe, Schedule
from pipeline.record import state_key
from pipeline.schema import PRESETS
from pipeline.store import Store
from pipeline.study import Study, expand
from pipeline.subset import Dataset
from pipeline.task import Parents, Task
from pipeline.training.evaluate import evaluate
from pipeline.training.state import read_state
from pipeline.transfer.finetune import finetune_recipe
from pipeline.trial import FewShot, FineTune, Transfer

UP = Dataset("up", "a" * 64, 1000, 10, 32, 3, 100)
DOWN = Dataset("down", "b" * 64, 200, 5, 64, 3, 20, 50)
GRID = (0.001, 0.003, 0.01, 0.03)
# Table 4, with the warm-up and the crops of the official code: steps, rates, further rates of CNNs, warm-up.
TABLE_4 = {
    "imagenet": (20_000, (0.003, 0.01, 0.03), (0.06,), 500),
    "cifar10": (10_000, GRID, (), 500),
    "cifar100": (10_000, GRID, (), 500),
    "pets": (500, GRID, (), 100),
    "flowers": (500, GRID, (), 100),
    "vtab": (2_500, (0.01,), (), 500),
}
DEV_SHARES = {"imagenet": 0.01, "cifar10": 0.02, "cifar100": 0.02, "pets": 0.1, "flowers": 0.1}


def transfers(task: Task, archs: dict[str, Arch] = ARCHS) -> list[tuple[str, Transfer]]:
    study = Study(data="up", budgets=[160, 320], tasks={"t": task})
    trials = expand(study, archs, [recipe()], {"up": UP, "down": DOWN}).values()
    return [(p.arch, p.trial) for p in trials if isinstance(p.trial, Transfer)]


def test_every_row_of_table_4_is_a_preset() -> None:
    assert {path.stem for path in (PRESETS / "transfer").glob("*.yaml")} == set(TABLE_4)


@pytest.mark.parametrize("name", list(TABLE_4))
def test_table_4(name: str) -> None:
    config = load([f"transfer={name}"]).config
    task = config.study.tasks[name]
    steps, rates, further, warmup = TABLE_4[name]
    for family in ("vit", "resnet", "hybrid"):
        protocols = task.protocols(family, DOWN, "")
        assert all(isinstance(p, FineTune) and p.steps == steps for p in protocols)
        tuned = [finetune_recipe(p) for p in protocols if isinstance(p, FineTune)]
        assert [r.lr for r in tuned] == [*rates, *(further if family != "vit" else ())]
        for made in tuned:
            assert (made.optimizer, made.momentum, made.momentum_dtype) == (Optimizer.sgd, 0.9, MomentumDtype.bf16)
            assert (made.schedule, made.weight_decay, made.clip) == (Schedule.cosine, 0.0, 1.0)
            assert (made.batch_size, made.warmup) == (512, warmup * 512)
            assert (made.crop_area, made.flip, made.crop_padding) == (0.05, True, 0)
    if name != "vtab":
        source = config.data[task.data]
        assert (source.image_size, source.val_share, source.test_share) == (384, DEV_SHARES[name], 0.0)
        facts = source.facts(task.data)
        assert facts is not None
        assert facts.val_samples == pytest.approx(DEV_SHARES[name] * (facts.samples + facts.val_samples), abs=1)


def test_every_rate_is_a_trial_of_its_own() -> None:
    grid = Task("down", finetune_steps=5, finetune_lrs=[0.1, 0.2, 0.1], finetune_lrs_family={"resnet": [0.3]})
    found = transfers(grid)
    assert len({repr(trial) for _, trial in found}) == len(found) == 2 * (2 + 3 + 2)
    rates = {trial.protocol.lr for arch, trial in found if arch == "resnet" and isinstance(trial.protocol, FineTune)}
    assert rates == {0.1, 0.2, 0.3}
    one = transfers(Task("down", finetune_steps=5, shots=[3]))
    assert {trial.protocol for _, trial in one} == {FewShot(3), FineTune(5)}


def test_a_task_takes_the_archs_it_names() -> None:
    found = transfers(Task("down", archs=["vit"], finetune_steps=5, parents=Parents.largest))
    assert [(arch, trial.parent.budget) for arch, trial in found] == [("vit", 320)]
    with pytest.raises(BadInput, match=r"study\.tasks\.t\.archs names 'vti'.*did you mean 'vit'"):
        transfers(Task("down", archs=["vti"], finetune_steps=5))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"finetune_lr": 0.0}, "finetune_lr"),
        ({"finetune_lrs": [0.1, -1.0]}, "-1.0"),
        ({"finetune_lrs_family": {"vti": [0.1]}}, "did you mean 'vit'"),
        ({"finetune_lrs_family": {"vit": [float("nan")]}}, "nan"),
        ({"finetune_steps": -1}, "finetune_steps"),
        ({"finetune_batch_size": 0}, "finetune_batch_size"),
        ({"finetune_warmup_steps": -1}, "finetune_warmup_steps"),
        ({"finetune_crop_area": 1.5}, "finetune_crop_area"),
    ],
)
def test_nonsense_is_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Task("down", **values)


def test_images_the_parent_cannot_take_are_refused_before_anything_runs() -> None:
    study = Study(data="up", budgets=[160], tasks={"t": Task("odd", finetune_steps=5)})
    odd = replace(DOWN, image_size=60)
    with pytest.raises(BadInput, match=r"study\.tasks\.t, on down: A patch of 8 px does not divide an image of 60"):
        expand(study, {"vit": ViT(patch=8)}, [recipe()], {"up": UP, "odd": odd})


def test_a_foreign_module_bound_to_its_image_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(External, "counter", lambda arch, size, channels, classes: Counts(size, 1))
    with pytest.raises(BadInput, match="cannot go from 32 px"):
        transfers(Task("down", finetune_steps=5), {"m": Module(target="a.B")})
    monkeypatch.setattr(External, "counter", lambda arch, size, channels, classes: Counts(7, size))
    assert transfers(Task("down", finetune_steps=5), {"m": Timm(name="x")})


@pytest.fixture(scope="module")
def homes(fractal: Home, data_root: Path) -> dict[str, Home]:
    """Upstream of 16 px; digits of 32 px with a dev split."""
    dataset, folder = prepare(DigitsSource(image_size=32, val_share=0.1), "large", data_root)
    return {"fractal": fractal, "large": Home(dataset, str(folder))}


@pytest.mark.parametrize("arch", list(ARCHS))
def test_a_larger_image_gets_interpolated_positions(tmp_path: Path, homes: dict[str, Home], arch: str) -> None:
    """Fine-tuned and probed at twice the size; after no step at all the weights are the parent's."""
    store = Store(str(tmp_path))
    task = Task("large", shots=[3], finetune_steps=3, finetune_lrs=[1e-12, 0.03])
    plan = plan_of(Study(data="fractal", budgets=[160], tasks={"d": task}), homes, [arch])
    run_all(plan, homes, store)
    (parent,) = (k for k, s in plan.segments.items() if s.work is Work.decay)
    before = read_state(store, state_key(parent))
    assert before is not None
    results = {r.digest: r for r in Ledger(store).results()}
    tuned = {}
    for key, segment in plan.segments.items():
        trial = segment.planned.trial
        if isinstance(trial, Transfer) and isinstance(trial.protocol, FineTune):
            state, result = read_state(store, state_key(key)), results[segment.planned.digest]
            assert state is not None
            assert result.facts["finetune_lr"] == trial.protocol.lr
            tuned[trial.protocol.lr] = state.model
            model = build(ARCHS[arch], 32, 3, 10, 0)
            model.load_state_dict(state.model)
            for split, metric in (("val", "dev_error"), ("test", "test_error")):
                reader = Reader.open(homes["large"].folder, split)
                assert evaluate(model, reader)["error"] == result.metrics[metric]
    assert len(results) == 4
    still = tuned[1e-12]
    if POSITIONS in still:
        old, new = before.model[POSITIONS], still[POSITIONS]
        grid = 4 if arch == "vit" else 8
        assert new.shape[1] == grid**2 + 1
        torch.testing.assert_close(new, resize(old, (grid, grid)))
    for name in still.keys() - {POSITIONS, "head.weight", "head.bias"}:
        torch.testing.assert_close(still[name], before.model[name])
    assert any(not torch.allclose(tuned[0.03][name], still[name], atol=1e-5) for name in still)


def test_fine_tuning_without_a_dev_split_has_no_dev_error(tmp_path: Path, fractal: Home, digits: Home) -> None:
    store, homes = Store(str(tmp_path)), {"fractal": fractal, "digits": digits}
    study = Study(data="fractal", budgets=[160], tasks={"d": Task("digits", finetune_steps=2)})
    run_all(plan_of(study, homes, ["vit"]), homes, store)
    (tuned,) = (r for r in Ledger(store).results() if r.kind == "transfer")
    assert set(tuned.metrics) == {"test_error", "test_loss"}


def test_the_protocol_without_its_new_fields_is_what_it_was() -> None:
    made = finetune_recipe(FineTune(30, batch_size=8))
    assert made == Recipe(
        batch_size=8, optimizer=Optimizer.sgd, lr=0.03, schedule=Schedule.cosine, warmup=24, weight_decay=0.0,
        momentum=0.9, clip=1.0, crop_padding=0, flip=False,
    )  # fmt: skip
