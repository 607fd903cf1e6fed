"""The recipes of arXiv 2010.11929, Table 3, as presets: their numbers, every model under them, a step of each."""

from dataclasses import replace
from pathlib import Path

import pytest
from small import ARCHS, job_of

from pipeline.arch import ViT
from pipeline.config import load
from pipeline.job import Home
from pipeline.ledger import Ledger, Outcome
from pipeline.plan import build_plan
from pipeline.recipe import Loss, Optimizer, Recipe, Schedule
from pipeline.schema import PRESETS
from pipeline.store import Store
from pipeline.study import Study, expand
from pipeline.subset import Dataset
from pipeline.training.segment import run_segment

RECIPES = sorted(path.stem for path in (PRESETS / "recipe").glob("*.yaml"))
PAPER = [name for name in RECIPES if name.startswith("paper_")]
MODELS = sorted(
    path.stem
    for path in (PRESETS / "arch").glob("*.yaml")
    if path.stem.startswith(("vit_", "resnet", "hybrid_r")) and "# At 224 px" in path.read_text()
)
JFT = {
    8e-4: ("vit_b32", "vit_b16", "resnet101x1", "hybrid_r50_b32", "hybrid_r50_b16"),
    6e-4: ("vit_l32", "resnet152x1", "resnet152x2"),
    4e-4: ("vit_l16", "hybrid_r50_l16"),
    3e-4: ("vit_h14",),
    1e-3: ("resnet50x1", "resnet50x2"),
    2e-4: ("hybrid_r50_l32",),
}


def named(name: str) -> Recipe:
    return load([f"recipe={name}"]).config.recipe


def kind(model: str) -> str:
    return model.split("_")[0].rstrip("0123456789x")


def test_the_rates_of_jft_are_the_tables() -> None:
    recipe = named("paper_jft")
    for rate, models in JFT.items():
        for model in models:
            assert recipe.resolve(kind(model), model).lr == rate, model
    assert recipe.resolve("resnet", "resnet200x3").lr == 6e-4, "ours: Table 3 has no row for it"
    assert recipe.resolve("vit", "vit_ti16").lr == 8e-4
    assert recipe.resolve("resnet", "resnet32_d1").lr == pytest.approx(1e-3)


def test_every_rate_is_of_an_arch_that_exists() -> None:
    for name in RECIPES:
        assert set(named(name).lr_arch) <= {path.stem for path in (PRESETS / "arch").glob("*.yaml")}


@pytest.mark.parametrize(
    ("name", "schedule", "decay", "dropout", "clip", "bias", "end"),
    [
        ("paper_jft", Schedule.linear, 0.1, 0.0, 0.0, -10.0, 1e-5),
        ("paper_imagenet21k", Schedule.linear, 0.03, 0.1, 0.0, -10.0, 1e-5),
        ("paper_imagenet", Schedule.cosine, 0.3, 0.1, 1.0, -6.9, 0.0),
    ],
)
def test_table_3(
    name: str, schedule: Schedule, decay: float, dropout: float, clip: float, bias: float, end: float
) -> None:
    recipe = named(name)
    assert (recipe.optimizer, recipe.beta1, recipe.beta2) == (Optimizer.adamw, 0.9, 0.999)
    assert (recipe.batch_size, recipe.warmup) == (4096, 10_000 * 4096)
    assert (recipe.schedule, recipe.weight_decay, recipe.dropout, recipe.clip) == (schedule, decay, dropout, clip)
    assert (recipe.loss, recipe.head_bias, recipe.lr_end) == (Loss.sigmoid, bias, end)
    assert (recipe.crop_area, recipe.flip, recipe.crop_padding) == (0.05, True, 0)
    if name != "paper_jft":
        rates = {recipe.resolve(kind(model), model).lr for model in MODELS}
        assert rates == {1e-3 if name == "paper_imagenet21k" else 3e-3}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_takes_every_model_of_the_paper(name: str) -> None:
    """Composed, expanded and planned; 50 models and more."""
    loaded = load([f"recipe={name}", f"arch=[{','.join(MODELS)}]"])
    data = {"jft": Dataset("jft", "0" * 64, 303_000_000, 0, 224, 3, 50_000)}
    trials = expand(Study(data="jft", budgets=[81_920_000]), loaded.config.archs, loaded.recipes, data)
    plan = build_plan(trials, data)
    twins = {f"vit_s{patch}" for patch in (32, 16, 14, 8)}  # ViT-S is ViT-b
    assert {p.arch for p in plan.trials.values()} == set(MODELS) - twins
    assert len(MODELS) > 40
    for planned in trials.values():
        trial = planned.pretrain
        last = trial.recipe.lr_at(trial.steps - 1, trial.steps)
        assert trial.recipe.lr_end <= last < 0.01 * trial.recipe.lr + trial.recipe.lr_end


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("arch", ["vit", "resnet", "hybrid", "pre_logits"])
def test_every_recipe_trains_a_step(tmp_path: Path, fractal: Home, name: str, arch: str) -> None:
    """Of 8 images, with everything else as the preset has it."""
    tiny = replace(ARCHS["vit"], pre_logits=True) if arch == "pre_logits" else ARCHS[arch]
    assert not isinstance(tiny, ViT) or tiny.pre_logits == (arch == "pre_logits")
    recipe = replace(named(name), batch_size=8, warmup=8)
    store, data = Store(str(tmp_path)), {"fractal": fractal.dataset}
    plan = build_plan(expand(Study(data="fractal", budgets=[16]), {arch: tiny}, [recipe], data), data)
    for key in plan.order:
        assert run_segment(job_of(plan.segments[key], {"fractal": fractal}, store)).outcome == "done"
    (result,) = Ledger(store).results()
    assert 0 <= result.metrics["val_error"] <= 1
    assert result.outcome is Outcome.done
