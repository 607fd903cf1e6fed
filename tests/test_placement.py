from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import load
from pipeline.errors import BadInput
from pipeline.placement import Placement, passes
from pipeline.prepared import plan_study


@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 300))
def test_passes_cut_the_batch_evenly_or_name_what_would(batch: int, workers: int, micro: int) -> None:
    try:
        count = passes(batch, workers, micro)
    except BadInput as error:
        better = int(str(error).rpartition("take ")[2].split()[0].rstrip(","))
        if batch % workers:
            assert 0 < better < workers and batch % better == 0
        else:
            assert 0 < better < micro
            assert passes(batch, workers, better) == batch // workers // better
    else:
        assert batch % (workers * count) == 0
        assert not micro or batch // workers // count <= micro


def test_pairs_are_not_cut() -> None:
    placement = Placement(micro_batch=3)
    placement.check(12, "recipe.batch_size")
    with pytest.raises(BadInput, match=r"recipe.batch_size=12 into passes of 3 images"):
        placement.check(12, "recipe.batch_size", pairs=True)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_a_study_whose_pairs_would_be_cut_is_not_planned(name: str, tmp_path: Path) -> None:
    words = ["arch=vit_pico", "data=fractal", "study.data=fractal", "study.budgets=[96]", "recipe.batch_size=12"]
    words += ["placement.micro_batch=3", f"placement.store={tmp_path}/runs", f"placement.data={tmp_path}/data"]
    assert plan_study(load(words), prepare_missing=False).plan.segments
    with pytest.raises(BadInput, match=r"recipe.batch_size=12 into passes of 3 images: make that even"):
        plan_study(load([*words, f"recipe.{name}=0.5"]), prepare_missing=False)
