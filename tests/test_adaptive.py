"""A study that grows by itself and what ``next`` says, on trainings that only pretend: known laws with noise."""

import json
import math
import random
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pytest

from pipeline import adaptive, advice, commands, proposal
from pipeline.adaptive import executed, grow
from pipeline.candidates import candidates, standing
from pipeline.cli import _parser
from pipeline.cluster import Summary
from pipeline.config import Loaded, load
from pipeline.errors import BadInput, OverBudget
from pipeline.laws import power
from pipeline.laws.comparison.law import make_law
from pipeline.ledger import Ledger, Outcome
from pipeline.plan import Segment, build_plan, trial_flops
from pipeline.prepared import Prepared, plan_study
from pipeline.record import Record, record_key, state_key
from pipeline.result import make_result
from pipeline.trial import Pretrain

LAWS = {"vit": (0.03, 0.5), "resnet": (0.03, 0.3), "hybrid": (0.05, 0.4)}
"""Floor and exponent; all are 0.2 at CROSSING."""
CROSSING = 1.5e11
NOISE = 0.01
WORDS = ["study=adaptive", "arch=vit_pico,resnet_pico", "study.budgets=[1024,2048,4096,8192]", "study.name=grown"]


composed = lru_cache(load)


def written(folder: Path, *words: str) -> Loaded:
    """Composed once for all tests; each has folders of its own."""
    loaded = deepcopy(composed((*WORDS, *words)))
    loaded.config.placement.store, loaded.config.placement.data = str(folder / "runs"), str(folder / "data")
    return loaded


def study(folder: Path, *words: str) -> Prepared:
    return plan_study(written(folder, *words), prepare_missing=False)


def error(family: str, flops: float, seed: str, noise: float = NOISE) -> float:
    floor, exponent = LAWS[family]
    scatter = random.Random(seed).gauss(0, noise)
    return (floor + (0.2 - floor) * (flops / CROSSING) ** -exponent) * math.exp(scatter)


class Pretend:
    """Executes a plan by leaving what it would leave. ``dies`` stops in the middle of that call."""

    def __init__(self, dies: int = 0, noise: float = NOISE) -> None:
        self.dies, self.noise, self.ran = dies, noise, []

    def __call__(self, prepared: Prepared) -> Summary:
        order = prepared.plan.order
        self.dies -= 1
        for done, key in enumerate(order):
            if self.dies == 0 and done >= len(order) // 2:
                return Summary(done=done, interrupted=True)
            self._leave(prepared, key, prepared.plan.segments[key])
        return Summary(done=len(order))

    def _leave(self, prepared: Prepared, key: str, segment: Segment) -> None:
        store, start = prepared.store, segment.start.key if segment.start else ""
        digest = segment.planned.digest
        record = Record(key, start, digest, "done", segment.first_step, segment.end.step, flops=segment.flops)
        store.put(state_key(key), b"state")
        if segment.final:
            flops = trial_flops(segment.planned, prepared.plan.datasets)
            metric = error(segment.planned.pretrain.arch.family, flops, digest, self.noise)
            record.metrics = {"val_error": metric}
            by_id = {d.id: d for d in prepared.plan.datasets.values()}
            result = make_result(segment.planned, by_id, Outcome.done, record)
            assert Ledger(store).publish(result), "a trial ran twice"
            self.ran.append(digest)
        store.put(record_key(key), record.to_json())


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "make_law", partial(make_law, draws=60))
    monkeypatch.setattr(power, "STUDIES", 40)


@pytest.fixture(autouse=True)
def concluded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Manifests for which a page was written."""
    pages: list[Any] = []
    monkeypatch.setattr(adaptive, "conclude", lambda store, manifest: pages.append(manifest))
    return pages


def test_it_grows_until_the_interval_is_as_narrow_as_wanted(
    tmp_path: Path, concluded: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    prepared, execute = study(tmp_path, "study.adaptive.width=0.25", "study.adaptive.budget=2e13"), Pretend()
    assert grow(prepared, execute) == 0
    said = capsys.readouterr().out
    assert "Stopped: The 90 % interval spans" in said and "as narrow as study.adaptive.width=0.25 wants" in said
    (manifest,) = concluded
    assert set(manifest.trials) == set(execute.ran) > set(prepared.plan.trials)
    assert executed(prepared.store, standing(candidates(prepared))) <= 2e13


def test_the_budget_is_never_passed_and_the_reason_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("study.adaptive.width=0", "study.adaptive.budget=1e12", "study.adaptive.least=0")
    prepared = study(tmp_path, *words)
    assert grow(prepared, Pretend(noise=0.03)) == 0
    assert "Stopped: What is left of the budget pays for no candidate" in capsys.readouterr().out
    spent = executed(prepared.store, standing(candidates(prepared)))
    assert build_plan(prepared.plan.trials, prepared.plan.datasets).flops < spent <= 1e12


def test_a_batch_that_says_little_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared, execute = study(tmp_path, "study.adaptive.least=0.99", "study.adaptive.width=0"), Pretend()
    assert grow(prepared, execute) == 0
    assert set(execute.ran) == set(prepared.plan.trials)
    assert "study.adaptive.least=0.99" in capsys.readouterr().out


def test_killed_in_any_round_the_same_command_ends_with_the_same_trials(tmp_path: Path) -> None:
    words, whole = ("study.adaptive.width=0", "study.adaptive.budget=2e12", "study.adaptive.least=0"), Pretend()
    assert grow(study(tmp_path / "whole", *words), whole) == 0
    for dies in (1, 2):
        cut, halves = tmp_path / f"cut{dies}", Pretend(dies)
        assert grow(study(cut, *words), halves) == 130
        assert grow(study(cut, *words), halves) == 0
        assert sorted(halves.ran) == sorted(whole.ran)
    again = Pretend()
    assert grow(study(tmp_path / "whole", *words), again) == 0
    assert not again.ran


def test_without_its_manifest_it_is_put_together_from_the_ledger(tmp_path: Path) -> None:
    words = ("study.adaptive.width=0", "study.adaptive.budget=1e12", "study.adaptive.least=0")
    prepared, execute = study(tmp_path, *words), Pretend()
    grow(prepared, execute)
    (tmp_path / "runs/studies/grown/study.json").write_text("damaged")
    assert set(standing(candidates(prepared))) == set(execute.ran)


def test_a_study_dearer_than_its_budget_is_not_launched(tmp_path: Path) -> None:
    with pytest.raises(OverBudget, match=r"study\.adaptive\.budget=1e\+09"):
        grow(study(tmp_path, "study.adaptive.budget=1e9"), Pretend())


def test_the_caps_hold_over_all_rounds(tmp_path: Path) -> None:
    words = ("study.adaptive.width=0", "study.adaptive.least=0", "study.adaptive.budget=4e12")
    own = study(tmp_path, *words).plan.flops
    execute = Pretend()
    with pytest.raises(OverBudget, match=r"study\.max_flops"):
        grow(study(tmp_path, *words, f"study.max_flops={own * 1.5}"), execute)
    assert len(execute.ran) >= 8


def test_candidates_do_not_depend_on_what_ran_and_start_with_the_studys_own(tmp_path: Path) -> None:
    before = candidates(study(tmp_path))
    grow(study(tmp_path, "study.adaptive.budget=1e12", "study.adaptive.width=0"), Pretend())
    prepared = study(tmp_path)
    assert set(candidates(prepared).trials) == set(before.trials) >= set(prepared.plan.trials)
    assert before.pair == ("vit", "resnet")
    budgets = {p.pretrain.budget for p in before.trials.values()}
    assert max(budgets) == 4 * 8192 and min(budgets) == 1024


def test_a_candidate_costs_what_the_plan_of_it_costs(tmp_path: Path) -> None:
    grid = candidates(study(tmp_path))
    places = sorted((c for c in grid.left([]) if c.family == "vit"), key=lambda c: -c.x)
    long = places[0]
    trial = grid.trials[long.name].pretrain
    short = next(c for c in places[5:] if grid.trials[c.name].pretrain.seed == trial.seed)
    cooldown = grid.trials[short.name].pretrain
    share = trial.recipe.cooldown_steps(cooldown.steps) / cooldown.steps
    assert grid.cost([], long) == pytest.approx(long.x)
    assert grid.cost([long], short) == pytest.approx(share * short.x), "its trunk is there already"
    stranger = next(c for c in places if grid.trials[c.name].pretrain.seed != trial.seed)
    assert grid.cost([long], stranger) == pytest.approx(stranger.x)


def test_the_axis_of_data_keeps_to_the_data_there_is(tmp_path: Path) -> None:
    words = ("study.adaptive.axis=data", "study.sizes=[500,2000,8000]", "study.budgets=[8192]")
    prepared = study(tmp_path, *words)
    grid = candidates(prepared)
    most = prepared.plan.datasets["fractal"].samples
    sizes = {p.pretrain.subset.samples for p in grid.trials.values()}
    assert max(sizes) == most and min(sizes) == 500
    assert {p.pretrain.budget for p in grid.trials.values()} == {8192}
    with pytest.raises(BadInput, match="several data sizes"):
        candidates(study(tmp_path, "study.adaptive.axis=data"))


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setattr(proposal, "load_config", lambda arguments: written(tmp_path, *arguments.words))

    def tell(*words: str) -> str:
        assert commands.next(_parser().parse_intermixed_args(["next", *words])) == 0
        return capsys.readouterr().out

    return tell


def test_next_of_a_study_that_never_ran_shows_its_power_and_a_first_batch(
    tmp_path: Path, told: Callable[..., str]
) -> None:
    """The command costs what is proposed: it neither runs the study as written nor lets it grow."""
    text = told("budget=1e12")
    assert "What this study as written could see" in text
    assert "without the 8 trials of the study as written" in text and "study.adaptive.budget=null" in text
    plain = json.loads(told("budget=1e12", "--json"))
    words = [f"+study.sweeps.{name}={proposal._short(sweep)}" for name, sweep in plain["sweeps"].items()]
    assert study(tmp_path, *words).plan.flops == pytest.approx(plain["flops"])
    assert plain["asked"] == "first batch" and len(plain["power"]) == 30
    assert {t["arch"] for t in plain["trials"]} == {"vit_pico", "resnet_pico"}
    assert 0 < plain["flops"] <= 1e12


def test_next_of_a_study_that_ran_narrows_its_crossover_within_the_budget(
    tmp_path: Path, told: Callable[..., str]
) -> None:
    prepared = study(tmp_path)
    Pretend()(prepared)
    plain = json.loads(told("budget=1e12", "--json"))
    assert plain["asked"] == "crossing" and not plain["power"]
    falling = [plain["sd"], *(t["sd"] for t in plain["trials"])]
    assert falling == sorted(falling, reverse=True) and falling[-1] < 0.8 * falling[0]
    assert plain["flops"] <= 1e12 and sum(t["flops"] for t in plain["trials"]) == pytest.approx(plain["flops"])
    assert not {t["digest"] for t in plain["trials"]} & set(prepared.plan.trials), "never a trial that ran"
    assert "sd: expected" in told("budget=1e12")
    frontier = json.loads(told("budget=1e12", "goal=frontier", "--json"))
    assert frontier["asked"] == "frontier"


def test_the_command_that_next_prints_runs_its_trials_and_keeps_the_studys_own(
    tmp_path: Path, told: Callable[..., str]
) -> None:
    """Those written and those added before."""
    standing, execute = study(tmp_path), Pretend()
    execute(standing)
    for budget in ("3e11", "1e12"):
        plain = json.loads(told(f"budget={budget}", "width=0.01", "--json"))
        words = [f"+study.sweeps.{name}={proposal._short(sweep)}" for name, sweep in plain["sweeps"].items()]
        wider = study(tmp_path, "+study.sweeps.own={}", *words)
        assert set(wider.plan.trials) == set(standing.plan.trials) | {t["digest"] for t in plain["trials"]}
        assert wider.plan.flops == pytest.approx(plain["flops"])
        assert all(word in told(f"budget={budget}", "width=0.01") for word in words)
        execute(wider)
        standing = wider


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "Say how many FLOPs"),
        (["budget=lots"], "budget=lots is no number"),
        (["budget=-1"], "positive number"),
        (["budget=nan"], "positive number"),
        (["budget=1e12", "axis=time"], "compute, data"),
        (["budget=1e12", "goal=fame"], "study.adaptive.goal"),
        (["budget=1e12", "pair=[vit]"], "names two families"),
        (["budget=1e12", "pair=[vit,mlp]"], "'mlp'"),
        (["budget=1e12", "arch=vit_pico"], "the study has vit only"),
        (["budget=1e12", "study.adaptive.batch=0"], "study.adaptive.batch"),
    ],
)
def test_what_next_cannot_use_is_one_sentence(told: Callable[..., str], words: list[str], part: str) -> None:
    with pytest.raises(BadInput, match=part.replace(".", r"\.")) as caught:
        told(*words)
    assert "\n" not in str(caught.value)


def test_a_budget_too_small_for_anything_is_said(tmp_path: Path, told: Callable[..., str]) -> None:
    assert "pays for no first batch" in told("budget=1000")
    Pretend()(study(tmp_path))
    assert "pays for no candidate" in told("budget=1000")


def test_a_trial_that_was_trained_is_of_the_grid_of_its_study(tmp_path: Path) -> None:
    assert all(isinstance(p.trial, Pretrain) for p in candidates(study(tmp_path)).trials.values())
