import json
import math
import subprocess
import sys
from dataclasses import dataclass, field, replace

import pytest

from pipeline.arch import ResNet, ViT
from pipeline.recipe import Recipe
from pipeline.subset import Subset
from pipeline.trial import FewShot, FineTune, Pretrain, Transfer, canonical, canonical_json, difference, digest

TRIAL = Pretrain(ViT(patch=8, depth=2, width=16, heads=2), Recipe(), Subset("d" * 64, 1000), 4096, 0)
GOLDEN = {
    "pretrain": (TRIAL, "63d4ac97801e52bdf4a92a043286df4507451ab9f8d381d2f93eb6bfd8cbb7ce"),
    "resnet": (replace(TRIAL, arch=ResNet()), "e700c7d526d41cb70635828c0abc7bbaa03873d70ccb007b5b1e6c9a9c70f1fa"),
    "fewshot": (
        Transfer(TRIAL, "e" * 64, FewShot(5), 0),
        "45795b844b99ae9801c69605581577334d7bc336ee0045712e7bc1ded7227e19",
    ),
    "finetune": (
        Transfer(TRIAL, "e" * 64, FineTune(30), 1),
        "ccc6115decee5692758a234a3bee980de5ebe1e7b1947cb1141c87f221e706dd",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_digests_never_move(name: str) -> None:
    """A new field needs a neutral value in its metadata; then the digests of old trials stay."""
    trial, expected = GOLDEN[name]
    assert digest(trial) == expected


def test_the_golden_trajectory_never_moves() -> None:
    assert TRIAL.trajectory == "02622a7a1e8e22e3da5c3e992f24d368ff34b091071fb183f2fdf2b6ecbecc8b"


def test_the_trajectory_forgets_the_horizon_only() -> None:
    assert replace(TRIAL, budget=8192).trajectory == TRIAL.trajectory
    assert replace(TRIAL, recipe=replace(TRIAL.recipe, cooldown=0.5)).trajectory == TRIAL.trajectory
    for changed in ({"seed": 1}, {"subset": Subset("d" * 64, 999)}, {"recipe": Recipe(lr=0.5)}):
        assert replace(TRIAL, **changed).trajectory != TRIAL.trajectory


def test_a_neutral_field_leaves_the_digest_alone() -> None:
    @dataclass(frozen=True)
    class Old:
        a: int = 1

    @dataclass(frozen=True)
    class New:
        a: int = 1
        b: int = field(default=0, metadata={"neutral": 0})

    New.__name__ = "Old"
    assert digest(New()) == digest(Old())
    assert digest(New(b=1)) != digest(Old())


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1: 2}, {1, 2}, b"x"])
def test_a_value_without_stable_form_raises(value: object) -> None:
    with pytest.raises(TypeError, match=r"stable form|string keys"):
        canonical(value)


def test_the_canonical_form_is_json_and_types_matter() -> None:
    assert json.loads(canonical_json(TRIAL))["is"] == "Pretrain"
    assert digest(1) != digest(1.0) != digest("1") != digest(True)


def test_another_process_gives_the_same_digest() -> None:
    code = (
        "from pipeline.arch import ViT; from pipeline.recipe import Recipe; from pipeline.subset import Subset;"
        "from pipeline.trial import Pretrain, digest;"
        "print(digest(Pretrain(ViT(patch=8, depth=2, width=16, heads=2), Recipe(), Subset('d'*64, 1000), 4096, 0)))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == digest(TRIAL)


def test_a_difference_names_fields() -> None:
    other = replace(TRIAL, seed=3, recipe=Recipe(lr=0.01))
    assert difference(canonical(TRIAL), canonical(other)) == {"recipe.lr": (0.001, 0.01), "seed": (0, 3)}
