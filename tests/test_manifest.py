"""A study's rows: its own names, and the recipe of each trial where an arch was trained by several."""

from dataclasses import replace
from pathlib import Path

from small import ARCHS

from pipeline.ledger import Ledger, Outcome, Result
from pipeline.manifest import describe
from pipeline.recipe import Recipe, Schedule
from pipeline.store import Store
from pipeline.study import Planned, Study
from pipeline.subset import Subset
from pipeline.trial import FewShot, Pretrain, Transfer, canonical, digest

NAME, ARCH = next(iter(ARCHS.items()))


def planned(recipe: Recipe, arch: str = NAME, seed: int = 0) -> Planned:
    trial = Pretrain(ARCH, recipe, Subset("d" * 64, 100), 640, seed)
    return Planned(trial, digest(trial), arch)


def settings(store: Store, members: list[Planned]) -> dict[str, str]:
    ledger = Ledger(store)
    for p in members:
        ledger.publish(Result(p.digest, "pretrain", canonical(p.trial), Outcome.done))
    rows = describe(Study(), "", members, "now").rows(ledger)
    return {row["digest"]: row["setting"] for row in rows}


def test_seeds_and_archs_are_no_setting(tmp_path: Path) -> None:
    slow, fast = Recipe(lr=1e-3), Recipe(lr=4e-3)
    members = [planned(slow), planned(slow, seed=1), planned(fast, arch="another", seed=2)]
    assert set(settings(Store(str(tmp_path)), members).values()) == {""}


def test_a_setting_names_what_differs(tmp_path: Path) -> None:
    recipes = {
        "cooldown=0.2 mixup=0.0 schedule=wsd": Recipe(),
        "cooldown=0.3 mixup=0.0 schedule=wsd": Recipe(cooldown=0.3),
        "cooldown=0.2 mixup=0.2 schedule=cosine": Recipe(mixup=0.2, schedule=Schedule.cosine),
    }
    members = {text: planned(recipe) for text, recipe in recipes.items()}
    transfer = Transfer(members["cooldown=0.3 mixup=0.0 schedule=wsd"].pretrain, "e" * 64, FewShot(5), 0)
    probe = replace(members["cooldown=0.3 mixup=0.0 schedule=wsd"], trial=transfer, digest=digest(transfer))
    found = settings(Store(str(tmp_path)), [*members.values(), probe])
    assert found == {p.digest: text for text, p in members.items()} | {
        probe.digest: "cooldown=0.3 mixup=0.0 schedule=wsd"
    }


def test_a_recipe_field_of_a_newer_version_is_a_setting_too(tmp_path: Path) -> None:
    old, new = planned(Recipe()), planned(Recipe(), seed=1)
    ledger = Ledger(Store(str(tmp_path)))
    for p, more in ((old, {}), (new, {"novelty": 3})):
        plain = canonical(p.trial)
        plain["recipe"] |= more
        ledger.publish(Result(p.digest, "pretrain", plain, Outcome.done))
    rows = describe(Study(), "", [old, new], "now").rows(ledger)
    assert {row["digest"]: row["setting"] for row in rows} == {old.digest: "novelty=None", new.digest: "novelty=3"}
