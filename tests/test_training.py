"""Training: cut steps, averages, masks and memory savings never change what is computed."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import varied
from small import ARCHS, job_of, plan_of, run_all
from torch import nn

from pipeline.arch import ViT
from pipeline.data.augment import augment
from pipeline.data.reader import Reader
from pipeline.errors import BadInput
from pipeline.job import Home
from pipeline.ledger import Ledger
from pipeline.models.build import build, recompute_activations
from pipeline.models.resnet import KernelsOnce, StdConv
from pipeline.plan import Plan, Work
from pipeline.recipe import Loss, Optimizer, Recipe
from pipeline.record import state_key
from pipeline.store import Store
from pipeline.study import Study
from pipeline.task import Task
from pipeline.training.evaluate import evaluate
from pipeline.training.module import Average
from pipeline.training.segment import run_segment
from pipeline.training.state import State, read_state

REGULARISED: dict[str, Any] = {
    "dropout": 0.2,
    "drop_path": 0.3,
    "mixup": 0.4,
    "cutmix": 1.0,
    "colour": 0.3,
    "hue": 0.1,
    "label_smoothing": 0.1,
    "crop_area": 0.3,
    "randaugment_layers": 1,
    "clip": 0.5,
}


def end(folder: Path, home: Home, arch: str, placement: dict[str, Any] | None = None, **recipe: Any) -> State:
    """The final state of a trial of 6 steps of 16 images."""
    store = Store(str(folder))
    plan = plan_of(Study(data="fractal", budgets=[96]), {"fractal": home}, [arch], **recipe)
    run_all(plan, {"fractal": home}, store, **(placement or {}))
    return final(plan, store)


def final(plan: Plan, store: Store) -> State:
    (key,) = (k for k, s in plan.segments.items() if s.work is Work.decay)
    state = read_state(store, state_key(key))
    assert state is not None
    return state


def far(a: State, b: State) -> float:
    """Relative distance of two models."""
    one, two = (torch.cat([s.model[k].double().flatten() for k in sorted(s.model)]) for s in (a, b))
    return float((one - two).norm() / one.norm())


@pytest.mark.parametrize("arch", list(ARCHS))
@pytest.mark.parametrize("recipe", [{}, REGULARISED], ids=["plain", "regularised"])
def test_accumulation_gives_the_step_of_the_large_batch(
    tmp_path: Path, fractal: Home, arch: str, recipe: dict[str, Any]
) -> None:
    """By SGD: Adam's first steps divide by the gradient's size, also where it is nothing but rounding, as along the
    scale of a standardised kernel."""
    sgd = {**recipe, "optimizer": Optimizer.sgd}
    whole = end(tmp_path / "whole", fractal, arch, **sgd, lr=0.05)
    cut = end(tmp_path / "cut", fractal, arch, {"micro_batch": 4}, **sgd, lr=0.05)
    assert far(whole, cut) < 2e-6
    other = end(tmp_path / "other", fractal, arch, **sgd, lr=0.0505)
    assert far(whole, other) > 2e-5, "the comparison would not see a difference"


def test_accumulation_under_adam(tmp_path: Path, fractal: Home) -> None:
    whole = end(tmp_path / "whole", fractal, "vit", **REGULARISED)
    assert far(whole, end(tmp_path / "cut", fractal, "vit", {"micro_batch": 4}, **REGULARISED)) < 2e-5


@pytest.mark.parametrize("arch", list(ARCHS))
def test_recomputed_activations_change_no_bit(tmp_path: Path, fractal: Home, arch: str) -> None:
    kept = end(tmp_path / "kept", fractal, arch, **REGULARISED)
    again = end(tmp_path / "again", fractal, arch, {"recompute": True}, **REGULARISED)
    assert kept.to_bytes() == again.to_bytes()


def test_recomputing_keeps_less() -> None:
    """Bytes that autograd holds for the backward pass."""
    held = {}
    for recompute in (False, True):
        model = build(ARCHS["vit"], 32, 3, 5, 0)
        if recompute:
            recompute_activations(model)
        sizes: dict[int, int] = {}

        def pack(x: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            model(torch.zeros(8, 3, 32, 32))
        held[recompute] = sum(sizes.values())
    assert held[True] < 0.6 * held[False]


def test_a_micro_batch_must_divide_the_batch(tmp_path: Path, fractal: Home) -> None:
    with pytest.raises(BadInput, match="does not divide the 16 images"):
        end(tmp_path, fractal, "vit", {"micro_batch": 5})


def test_the_polyak_average_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    average = Average(model, 0.75, {})
    expected = 1.0
    for value in (2.0, -1.0, 4.0):
        nn.init.constant_(model.weight, value)
        average.update()
        expected = 0.75 * expected + 0.25 * value
    average.become()
    assert model.weight.item() == pytest.approx(expected)
    assert Average(model, 0.0, {}).values == {}


def test_a_finished_trial_is_its_average(tmp_path: Path, fractal: Home) -> None:
    """It lags behind the weights themselves, and its state needs no second copy."""
    averaged = end(tmp_path / "averaged", fractal, "vit", polyak=0.75)
    plain = end(tmp_path / "plain", fractal, "vit")
    data = fractal.dataset
    start = build(ARCHS["vit"], data.image_size, 3, data.classes, 0).state_dict()
    moved = [sum(float((s.model[k] - start[k]).norm()) for k in start) for s in (averaged, plain)]
    assert averaged.average == {}
    assert 0.2 * moved[1] < moved[0] < 0.9 * moved[1]


def test_the_average_is_what_is_evaluated(tmp_path: Path, fractal: Home) -> None:
    """Its Result is that of the stored average, which the weights themselves would not give."""
    store = Store(str(tmp_path))
    plan = plan_of(Study(data="fractal", budgets=[320]), {"fractal": fractal}, ["vit"], polyak=0.95, lr=0.02)
    run_all(plan, {"fractal": fractal}, store)
    (result,) = Ledger(store).results()
    model = build(ARCHS["vit"], fractal.dataset.image_size, 3, fractal.dataset.classes, 0)
    model.load_state_dict(final(plan, store).model)
    scores = evaluate(model, Reader.open(fractal.folder, "val"))
    assert (scores["error"], scores["loss"]) == (result.metrics["val_error"], result.metrics["val_loss"])
    plain = end(tmp_path / "plain", fractal, "vit", lr=0.02)
    model.load_state_dict(plain.model)
    assert evaluate(model, Reader.open(fractal.folder, "val"))["loss"] != scores["loss"]


@pytest.mark.parametrize("arch", list(ARCHS))
def test_the_sigmoid_loss_starts_at_the_heads_bias(tmp_path: Path, fractal: Home, arch: str) -> None:
    """The head's kernel is zero, so the first loss is known: softplus of the bias for each class, less one bias."""
    store, bias = Store(str(tmp_path)), -3.0
    values: dict[str, Any] = {"loss": Loss.sigmoid, "head_bias": bias, "lr": 1e-12}
    plan = plan_of(Study(data="fractal", budgets=[96]), {"fractal": fractal}, [arch], **values)
    run_all(plan, {"fractal": fractal}, store)
    (result,) = Ledger(store).results()
    expected = fractal.dataset.classes * math.log1p(math.exp(bias)) - bias
    assert result.metrics["train_loss"] == pytest.approx(expected, rel=1e-4)
    assert torch.all((final(plan, store).model["head.bias"] - bias).abs() < 1e-6)


def test_the_pre_logits_layer_is_trained_and_dropped_at_fine_tuning(
    tmp_path: Path, fractal: Home, digits: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHS, "headed", ViT(patch=8, depth=1, width=16, heads=2, pre_logits=True))
    store, homes = Store(str(tmp_path)), {"fractal": fractal, "digits": digits}
    study = Study(data="fractal", budgets=[320], tasks={"d": Task("digits", finetune_steps=2)})
    plan = plan_of(study, homes, ["headed"])
    run_all(plan, homes, store)
    states = {s.work: read_state(store, state_key(k)) for k, s in plan.segments.items()}
    trained, tuned = states[Work.decay], states[Work.transfer]
    assert trained and tuned
    start = build(ARCHS["headed"], 16, 3, fractal.dataset.classes, 0).state_dict()
    assert not torch.allclose(trained.model["pre_logits.0.weight"], start["pre_logits.0.weight"], atol=1e-5)
    assert not [name for name in tuned.model if name.startswith("pre_logits")]
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = build(ARCHS["headed"], 16, 3, 5, 0)
    assert model.features(x).abs().max() < 1, "tanh"  # type: ignore[operator]


def test_budgets_share_a_trunk_with_its_average(tmp_path: Path, fractal: Home) -> None:
    shared, homes = Store(str(tmp_path / "shared")), {"fractal": fractal}
    plan = plan_of(Study(data="fractal", budgets=[160, 320]), homes, ["vit"], polyak=0.9)
    run_all(plan, homes, shared)
    for budget in (160, 320):
        alone = Store(str(tmp_path / f"alone{budget}"))
        single = plan_of(Study(data="fractal", budgets=[budget]), homes, ["vit"], polyak=0.9)
        run_all(single, homes, alone)
        for key, segment in single.segments.items():
            if segment.work is Work.decay:
                assert shared.get(state_key(key)) == alone.get(state_key(key))


def test_kernels_standardised_once_give_the_gradients_of_every_use() -> None:
    model = nn.Sequential(StdConv(3, 4, 3), nn.ReLU(), StdConv(4, 2, 1)).double()
    batches = [torch.randn(2, 3, 5, 5, dtype=torch.float64) for _ in range(3)]
    for x in batches:
        model(x).square().sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    calls = []
    conv: Any = model[0]
    original = conv.standardised
    conv.standardised = lambda: calls.append(1) or original()
    with KernelsOnce(model):
        for x in batches:
            model(x).square().sum().backward()
    assert len(calls) == 1
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, grad)
    assert conv.ready is None


def test_evaluation_standardises_once_too() -> None:
    model = build(ARCHS["resnet"], 32, 3, 5, 0)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = model(x)
        with KernelsOnce(model):
            assert torch.equal(model(x), expected)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["vit", "hybrid"])
def test_a_compiled_model_trains_to_the_same_weights(tmp_path: Path, fractal: Home, arch: str) -> None:
    sgd = {"dropout": 0.1, "optimizer": Optimizer.sgd, "lr": 0.05}
    eager = end(tmp_path / "eager", fractal, arch, **sgd)
    compiled = end(tmp_path / "compiled", fractal, arch, {"compile": True}, **sgd)
    assert eager.model.keys() == compiled.model.keys()
    assert 0 < far(eager, compiled) < 1e-5


@pytest.mark.parametrize("vary", [True, False])
def test_only_images_that_the_loader_has_cropped_are_not_cropped_again(
    tmp_path: Path, fractal: Home, vary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fractal
    if vary:
        varied.write(tmp_path / "pictures")
        data = Reader.open(tmp_path / "pictures", "train").dataset
        home = Home(replace(data, val_samples=1), str(tmp_path / "pictures"))  # which nothing here will look at
    told = []

    def listen(images: torch.Tensor, seed: int, counters: torch.Tensor, recipe: Recipe, cropped: bool) -> torch.Tensor:
        told.append(cropped)
        return augment(images, seed, counters, recipe, cropped)

    monkeypatch.setattr("pipeline.training.module.augment", listen)
    plan = plan_of(Study(data="it", budgets=[96]), {"it": home}, ["vit"], crop_area=0.2)
    trunk = plan.segments[plan.order[0]]
    assert run_segment(job_of(trunk, {"it": home}, Store(str(tmp_path / "runs")))).outcome == "done"
    assert set(told) == {vary}
