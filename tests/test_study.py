import math
from dataclasses import replace

import pytest

from pipeline.arch import ViT
from pipeline.errors import BadInput
from pipeline.recipe import Recipe
from pipeline.study import Study, Sweep, expand
from pipeline.subset import UNPREPARED, Dataset, Subset
from pipeline.task import Task

DATA = {
    "toy": Dataset("toy", "a" * 64, 1000, 10, 32, 3, 100),
    "alone": Dataset("alone", "c" * 64, 1000, 1, 32, 3, 100),
    "tested": Dataset("tested", "b" * 64, 1000, 10, 32, 3, 100, 100),
}
ARCHS = {"vit": ViT(patch=8, depth=2, width=16, heads=2)}


def budgets(sweep: Sweep) -> list[int]:
    trials = expand(Study(data="toy", sweeps={"s": sweep}), ARCHS, [Recipe(batch_size=10)], DATA)
    return sorted(p.pretrain.budget for p in trials.values())


def test_four_ways_to_give_budgets() -> None:
    arch = ARCHS["vit"]
    assert budgets(Sweep(budgets=[995, 2000])) == [1000, 2000], "rounded up to whole batches"
    assert budgets(Sweep(epochs=[2.0], sizes=[100, 500])) == [200, 1000]
    assert budgets(Sweep(flops=[3.0 * arch.flops(32, 3, 10) * 700])) == [700]
    assert budgets(Sweep(samples_per_param=[0.1])) == [-(-round(0.1 * arch.params(32, 3, 10)) // 10) * 10]


def test_isoflop_gives_every_arch_the_same_compute() -> None:
    archs = {**ARCHS, "wide": ViT(patch=8, depth=2, width=64, heads=2)}
    trials = expand(Study(data="toy", sweeps={"s": Sweep(flops=[1e12])}), archs, [Recipe(batch_size=1)], DATA)
    for p in trials.values():
        assert 3 * p.pretrain.arch.flops(32, 3, 10) * p.pretrain.budget == pytest.approx(1e12, rel=1e-3)


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        (Study(data="tyo", budgets=[1]), "did you mean 'toy'"),
        (Study(data="toy"), "no budget"),
        (Study(data="toy", budgets=[10], sizes=[1001]), "1,001 training images, but toy has 1,000"),
        (Study(data="toy", budgets=[10], sizes=[-1]), "negative"),
        (Study(data="toy", budgets=[0]), "positive"),
        (Study(data="toy", sweeps={"s": Sweep(archs=["vti"], budgets=[10])}), "did you mean 'vit'"),
        (Study(data="toy", sweeps={"s": Sweep(budgets=[10], epochs=[1.0])}), "budgets and epochs"),
        (Study(data="toy", budgets=[10], tasks={"t": Task(data="x", shots=[1])}), "study.tasks.t.data"),
        (Study(data="toy", budgets=[10], tasks={"t": Task(data="tested", shots=[101])}), "101 images of each"),
        (Study(budgets=[10]), "study.data is not set"),
        (Study(data="alone", budgets=[10]), "'alone', which has one class only"),
        (Study(data="toy", budgets=[10], seeds=[-1]), "seeds must lie between 0"),
        (Study(data="toy", sweeps={"s": Sweep(epochs=[math.inf])}), "epochs must be positive and mean less"),
        (Study(data="toy", sweeps={"s": Sweep(flops=[1e300])}), "flops must be positive and mean less"),
        (Study(data="toy", budgets=[10], tasks={"t": Task(data="toy")}), "nothing to do"),
        (Study(data="toy", budgets=[10], tasks={"t": Task(data="tested", shots=[0])}), "asks for 0 images"),
        (
            Study(data="toy", budgets=[10], tasks={"t": Task(data="tested", finetune_steps=1, finetune_samples=1001)}),
            "finetune_samples asks for 1,001",
        ),
        (Study(data="toy", budgets=[10], tasks={"t": Task(data="toy", shots=[1])}), "needs test images"),
    ],
)
def test_what_cannot_be_expanded_says_why(study: Study, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        expand(study, ARCHS, [Recipe()], DATA)


def test_a_patch_that_does_not_divide_the_image_is_refused() -> None:
    with pytest.raises(BadInput, match="patch of 7 px does not divide"):
        expand(Study(data="toy", budgets=[10]), {"v": ViT(patch=7)}, [Recipe()], DATA)


def test_a_study_needs_validation_images() -> None:
    bare = replace(DATA["toy"], val_samples=0)
    with pytest.raises(BadInput, match="validation images, but toy has none"):
        expand(Study(data="toy", budgets=[10]), ARCHS, [Recipe()], {"toy": bare})
    declared = replace(bare, id=UNPREPARED + "x")
    assert expand(Study(data="toy", budgets=[10]), ARCHS, [Recipe()], {"toy": declared}), "nobody has counted yet"


@pytest.mark.parametrize("name", ["", "a/b", "..", "with space"])
def test_a_study_name_is_a_folder_name(name: str) -> None:
    with pytest.raises(BadInput, match=r"study\.name"):
        Study(name=name)


def test_draws_of_a_size_are_disjoint_rotations_where_the_data_holds_them() -> None:
    def draws(size: int) -> list[int]:
        sweep = Sweep(budgets=[100], sizes=[size], replicates=[0, 1, 2])
        trials = expand(Study(data="toy", sweeps={"s": sweep}), ARCHS, [Recipe(batch_size=10)], DATA)
        return sorted(p.pretrain.subset.replicate for p in trials.values())

    assert draws(100) == draws(333) == [0, 1, 2]
    assert draws(500) == [0, 1]
    assert draws(0) == draws(501) == [0]


def test_blocks_are_part_of_a_subset_only_where_they_change_something() -> None:
    def subset(size: int) -> Subset:
        study = Study(data="toy", budgets=[100], sizes=[size], shuffle_block=200, shuffle_window=3)
        (trial,) = expand(study, ARCHS, [Recipe(batch_size=10)], DATA).values()
        return trial.pretrain.subset

    assert (subset(0).block, subset(0).window) == (200, 3)
    assert subset(200) == Subset("a" * 64, 200)
