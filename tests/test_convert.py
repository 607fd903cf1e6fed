"""``crossover convert`` as typed: what it writes, and one sentence with exit code 2 for what it cannot."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official import Arrays, Bit, Vit
from small import ARCHS, plan_of, run_all

from pipeline.arch import Arch, Module, ResNet, ViT
from pipeline.cli import main
from pipeline.errors import BadInput
from pipeline.job import Home
from pipeline.ledger import Ledger, Outcome, Result
from pipeline.models.build import build, reset_head
from pipeline.models.checkpoint import load_checkpoint, load_model, open_checkpoint, save_model
from pipeline.models.layouts.own import Description
from pipeline.plan import Plan, Work
from pipeline.record import state_key
from pipeline.store import Store
from pipeline.study import Study, Task
from pipeline.training.state import read_state

VIT = Vit()
SHAPE = ["arch=vit_pico", "arch.patch=4", "arch.depth=2", "arch.width=8", "arch.heads=2", "arch.mlp_ratio=2"]
SHAPE += ["arch.pool=cls"]
ARCH = ViT(4, 2, 8, 2, 2.0)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(name: str, arrays: Arrays) -> Arrays:
    np.savez(name, **arrays)  # type: ignore[arg-type]
    return arrays


def convert(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    code = main(["convert", *words])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert not err
    return out.strip()


def refusal(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    capsys.readouterr()
    assert main(["convert", *words]) == code
    out, err = capsys.readouterr()
    (line,) = err.strip().splitlines()
    assert not out
    return line


def test_from_an_official_file_to_every_layout_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    arrays = save("x.npz", VIT.arrays())
    told = convert(capsys, "x.npz", "x.safetensors", *SHAPE)
    count = sum(a.size for a in arrays.values())
    assert told == f"original -> crossover: {count:,} parameters, 5 classes, 12 px, in x.safetensors"
    for to, name in [("big_vision", "b.npz"), ("big_vision_scanned", "s.npz"), ("timm", "t.pth"), ("augreg", "a.npz")]:
        convert(capsys, "x.safetensors", name, "--to", to)
        back = convert(capsys, name, "y.npz", *SHAPE)
        assert back.endswith("5 classes, 12 px, in y.npz")
        found = np.load("y.npz")
        assert sorted(found.files) == sorted(arrays)
        for key in arrays.keys() - {"cls", "Transformer/posembed_input/pos_embedding"}:
            assert np.array_equal(found[key], arrays[key]), key
    x = torch.randn(2, 3, 12, 12)
    for name in ("b.npz", "s.npz", "t.pth", "a.npz"):
        model = load_checkpoint(Path(name), ARCH, 12, 3, 5)
        torch.testing.assert_close(model(x).double(), VIT.logits(arrays, x), rtol=1e-3, atol=1e-3)


def test_the_layout_follows_from_the_suffix_and_the_arch(capsys: pytest.CaptureFixture[str]) -> None:
    save("r.npz", Bit((1,)).arrays())
    bit = ["arch=resnet50x1", "arch.depths=[1]", "arch.width=32"]
    assert convert(capsys, "r.npz", "r.pth", *bit).startswith("bit -> timm: ")
    assert convert(capsys, "r.pth", "s.npz", *bit).startswith("timm -> bit: ")
    one, other = np.load("r.npz"), np.load("s.npz")
    assert all(np.array_equal(one[key], other[key]) for key in one.files)
    assert convert(capsys, "r.npz", "r.safetensors", *bit, "--image-size", "128").startswith("bit -> crossover: ")
    assert load_model(Path("r.safetensors"))[1].image_size == 128


def test_another_image_size(capsys: pytest.CaptureFixture[str]) -> None:
    save("x.npz", VIT.arrays())
    assert "20 px" in convert(capsys, "x.npz", "y.npz", *SHAPE, "--image-size", "20")
    assert np.load("y.npz")["Transformer/posembed_input/pos_embedding"].shape == (1, 26, 8)
    told = refusal(capsys, "x.npz", "z.npz", *SHAPE, "--image-size", "18")
    assert "A patch of 4 px does not divide an image of 18 px" in told
    for size in ("0", "-4"):
        assert "image" in refusal(capsys, "x.npz", "z.npz", *SHAPE, "--image-size", size)
    assert "--image-size" in refusal(capsys, "x.npz", "z.npz", *SHAPE, "--image-size", "12.5")
    assert not Path("z.npz").exists()


def test_a_grid_that_is_no_square(capsys: pytest.CaptureFixture[str]) -> None:
    save("x.npz", VIT.arrays())
    assert "a grid of 2x5" in convert(capsys, "x.npz", "y.npz", *SHAPE, "--grid", "2x5")
    assert "(--source-grid)" in refusal(capsys, "y.npz", "z.npz", *SHAPE)
    assert "not 5 x 5" in refusal(capsys, "y.npz", "z.npz", *SHAPE, "--source-grid", "5x5")
    assert "a grid of 2x5" in convert(capsys, "y.npz", "z.npz", *SHAPE, "--source-grid", "2x5")
    assert Path("z.npz").read_bytes() == Path("y.npz").read_bytes()
    assert "12 px" in convert(capsys, "y.npz", "z.npz", *SHAPE, "--source-grid", "2x5", "--image-size", "12")
    convert(capsys, "x.npz", "x.safetensors", *SHAPE, "--grid", "2x5")
    assert load_model(Path("x.safetensors"))[1].grid == (2, 5)
    assert "a grid of 2x5" in convert(capsys, "x.safetensors", "z.npz")
    assert "give one of them" in refusal(capsys, "x.npz", "z.npz", *SHAPE, "--grid", "2x5", "--image-size", "12")
    for wrong in ("2", "2x", "0x3", "2x3x4", "axb"):
        assert f"not '{wrong}'" in refusal(capsys, "x.npz", "z.npz", *SHAPE, "--grid", wrong)
    save("r.npz", Bit((1,)).arrays())
    bit = ["arch=resnet50x1", "arch.depths=[1]", "arch.width=32"]
    assert "arch=resnet does not have" in refusal(capsys, "r.npz", "z.npz", *bit, "--grid", "2x5")


def test_heads(capsys: pytest.CaptureFixture[str]) -> None:
    save("x.npz", Vit(pre_logits=True).arrays())
    assert "arch.pre_logits=true" in refusal(capsys, "x.npz", "y.npz", *SHAPE)
    convert(capsys, "x.npz", "y.npz", *SHAPE, "arch.pre_logits=true")
    assert "pre_logits/kernel" in np.load("y.npz").files
    assert "--head zero" in refusal(capsys, "x.npz", "y.pth", *SHAPE, "arch.pre_logits=true")
    told = convert(capsys, "x.npz", "y.safetensors", *SHAPE, "arch.pre_logits=true", "--head", "zero", "--classes", "7")
    assert "7 classes" in told
    model, description = load_model(Path("y.safetensors"))
    assert description.arch == ARCH, "without the layer that went with the head"
    assert not any(p.any() for p in model.head.parameters())  # type: ignore[union-attr]
    convert(capsys, "x.npz", "y.safetensors", *SHAPE, "--head", "zero")
    assert load_model(Path("y.safetensors"))[1].classes == 5
    told = refusal(capsys, "x.npz", "z.npz", *SHAPE, "arch.pre_logits=true", "--classes", "7")
    assert "head/kernel has the shape (8, 5), but (8, 7) is wanted: a fresh one comes with --head zero" in told
    assert "--classes must be positive" in refusal(capsys, "x.npz", "z.npz", *SHAPE, "--classes", "0")
    assert "neither keep nor zero" in refusal(capsys, "x.npz", "z.npz", *SHAPE, "--head", "new")
    save("n.npz", {k: v for k, v in VIT.arrays().items() if "head" not in k})
    assert "n.npz has no head: put one on with --head zero --classes K" in refusal(capsys, "n.npz", "z.npz", *SHAPE)
    convert(capsys, "n.npz", "z.npz", *SHAPE, "--head", "zero", "--classes", "3")
    assert np.load("z.npz")["head/bias"].shape == (3,)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["x.npz", *SHAPE], "crossover convert SOURCE TARGET arch=PRESET --to LAYOUT"),
        (["x.npz", "y.npz", "z.npz", *SHAPE], "crossover convert SOURCE TARGET"),
        (["x.npz", "y.npz"], "does not say which arch it is of: give arch=PRESET"),
        (["x.npz", "y.npz", "arch=vit_pico,vit_nano"], "give a single arch=PRESET"),
        (["x.npz", "y.npz", "arch=vit_b61"], "did you mean 'vit_b16'"),
        (["x.npz", "y.npz", "arch=vit_b16"], "(4, 4, 3, 8), but (16, 16, 3, 768) is wanted: check arch="),
        (["x.npz", "y.npz", "arch=resnet50x1"], "layout holds ViTs and hybrids, not arch=resnet"),
        (["x.npz", "y.npz", "arch=timm", "name=resnet18"], "only vit, hybrid, resnet are converted from such files"),
        (["x.npz", "y.npz", *SHAPE, "--to", "bigvision"], "did you mean 'big_vision'"),
        (["x.npz", "y.npz", *SHAPE, "--to", "timm"], "timm layout is written to .safetensors or .pth or .pt or .bin"),
        (["x.npz", "y.pth", *SHAPE, "--to", "original"], "original layout is written to .npz, not y.pth"),
        (["x.npz", "y", *SHAPE], "crossover layout is written to .safetensors, not y"),
        (["x.npz", "y.npz", *SHAPE, "--to", "bit"], "bit layout holds ResNets, not arch=vit"),
        (["x.npz", "x.npz", *SHAPE], "x.npz is SOURCE itself"),
        (["x.npz", "sub", *SHAPE], "sub is a folder: name the file"),
        (["x.npz", "x.npz/y.npz", *SHAPE], "cannot be written"),
        (["sub", "y.npz", *SHAPE], "sub is a folder: name a file"),
        (["none.npz", "y.npz", *SHAPE], "There is no checkpoint none.npz"),
        (["x.ckpt", "y.npz", *SHAPE], "There is no checkpoint x.ckpt"),
        (["abc123", "y.npz"], "No trial in"),
    ],
)
def test_what_is_wrong_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    save("x.npz", VIT.arrays())
    Path("sub").mkdir()
    before = Path("x.npz").read_bytes()
    assert sentence in refusal(capsys, *words)
    assert Path("x.npz").read_bytes() == before
    assert sorted(p.name for p in Path().iterdir()) == ["sub", "x.npz"], "nothing is left behind"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_locked_folder(capsys: pytest.CaptureFixture[str]) -> None:
    save("x.npz", VIT.arrays())
    Path("locked").mkdir(mode=0o500)
    assert "cannot be written" in refusal(capsys, "x.npz", "locked/y.npz", *SHAPE)


def test_an_older_target_stays_until_the_new_one_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    arrays = save("x.npz", VIT.arrays())
    Path("y.npz").write_bytes(b"old")
    refusal(capsys, "x.npz", "y.npz", "arch=vit_b16")
    assert Path("y.npz").read_bytes() == b"old"
    convert(capsys, "x.npz", "y.npz", *SHAPE)
    assert sorted(np.load("y.npz").files) == sorted(arrays)


def test_names_with_an_equals_sign(capsys: pytest.CaptureFixture[str]) -> None:
    save("step=100.npz", VIT.arrays())
    convert(capsys, "step=100.npz", "y.npz", *SHAPE)


def test_a_file_that_says_what_it_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    save_model(Path("x.safetensors"), build(ARCH, 12, 3, 5, seed=0), ARCH, 12, 3, 5)
    convert(capsys, "x.safetensors", "y.npz", *SHAPE)
    told = refusal(capsys, "x.safetensors", "y.npz", *SHAPE, "arch.depth=3")
    assert "x.safetensors is of ViT(patch=4, depth=2" in told and "leave arch= out" in told


# Out of a study.


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, fractal: Home, digits: Home) -> tuple[Store, Plan]:
    """Three archs with averaged weights, pre-trained and taken to a task."""
    store = Store(str(tmp_path_factory.mktemp("runs")))
    study = Study(data="fractal", budgets=[160])
    study.tasks = {"d": Task(data="digits", shots=[3], finetune_steps=3)}
    homes = {"fractal": fractal, "digits": digits}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHS, "module", Module(target="foreign.Scaled"))
        plan = plan_of(study, homes, ["vit", "resnet", "module"], polyak=0.9)
    run_all(plan, homes, store)
    return store, plan


def trials(studied: tuple[Store, Plan], kind: str, family: str) -> str:
    """The digest of the one trial of this kind."""
    (found,) = [
        r.digest
        for r in Ledger(studied[0]).results()
        if r.facts["family"] == family and r.facts.get("protocol", r.kind) == kind
    ]
    return found


@pytest.mark.parametrize("family", ["vit", "resnet", "scaled"])
def test_a_pretrained_trial(family: str, studied: tuple[Store, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    """What the trial was judged by, also where the recipe averages the weights."""
    store, plan = studied
    digest = trials(studied, "pretrain", family)
    told = convert(capsys, digest[:10], "x.safetensors", f"placement.store={store.url}")
    assert told.endswith("8 classes, 16 px, in x.safetensors")
    model, description = load_model(Path("x.safetensors"))
    assert (description.image_size, description.channels, description.classes) == (16, 3, 8)
    (end,) = [k for k, s in plan.segments.items() if s.planned.digest == digest and s.work is Work.decay]
    state = read_state(store, state_key(end))
    assert state is not None and not state.average
    for name, value in model.state_dict().items():
        assert torch.equal(value, state.model[name]), name


def test_a_fine_tuned_trial(studied: tuple[Store, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    store = f"placement.store={studied[0].url}"
    digest = trials(studied, "finetune", "vit")
    convert(capsys, digest[:10], "x.safetensors", store)
    model, told = load_model(Path("x.safetensors"))
    assert told.classes == 10 and isinstance(told.arch, ViT)
    convert(capsys, digest[:10], "x.pth", store)
    other = load_checkpoint(Path("x.pth"), told.arch, 16, 3, 10)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    digest = trials(studied, "finetune", "scaled")
    convert(capsys, digest[:10], "m.safetensors", store)
    assert load_model(Path("m.safetensors"))[1] == Description(Module(target="foreign.Scaled"), 16, 3, 10)
    assert "not arch=module" in refusal(capsys, digest[:10], "m.pth", store)
    digest = trials(studied, "finetune", "vit")
    assert "not of the arch given" in refusal(capsys, digest[:10], "y.pth", store, "arch=vit_b16")


def test_a_state_of_the_store_is_a_file_like_others(studied: tuple[Store, Plan]) -> None:
    store, plan = studied
    digest = trials(studied, "pretrain", "resnet")
    (end,) = [k for k, s in plan.segments.items() if s.planned.digest == digest and s.work is Work.decay]
    assert store.local is not None
    checkpoint = open_checkpoint(store.local / state_key(end))
    arch: Arch = plan.segments[end].planned.pretrain.arch
    assert isinstance(arch, ResNet)
    state = read_state(store, state_key(end))
    assert state is not None
    for name, value in checkpoint.model(arch, 16, 3, 8).state_dict().items():
        assert torch.equal(value, state.model[name])


def test_trials_without_weights(
    studied: tuple[Store, Plan], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = f"placement.store={studied[0].url}"
    few = trials(studied, "fewshot", "vit")
    assert "is few-shot and trains no weights: name the trial it rests on" in refusal(capsys, few[:10], "x.pth", store)
    other = Store(str(tmp_path / "other"))
    for digest, outcome in (("a" * 64, Outcome.diverged), ("b" * 64, Outcome.failed)):
        Ledger(other).publish(Result(digest, "pretrain", {}, outcome))
        told = refusal(capsys, digest[:6], "x.pth", f"placement.store={other.url}")
        assert f"Trial {digest[:12]} has no weights: it failed or diverged" in told


def test_a_trial_whose_state_is_gone(studied: tuple[Store, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    store, plan = studied
    digest = trials(studied, "finetune", "resnet")
    (end,) = [k for k, s in plan.segments.items() if s.planned.digest == digest and s.work is Work.transfer]
    state = store.get(state_key(end))
    assert state is not None
    words = [digest[:10], "x.pth", f"placement.store={store.url}"]
    store.put(state_key(end), state[:100])
    assert "is damaged" in refusal(capsys, *words)
    store.delete(state_key(end))
    assert f"The state of trial {digest[:12]} is gone" in refusal(capsys, *words)
    store.put(state_key(end), state)
    assert "one root and 32 groups" in refusal(capsys, *words)


def test_results_from_before_sizes_were_recorded(
    studied: tuple[Store, Plan], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The weights tell what they can: of a ResNet not the size of its images."""
    shutil.copytree(str(studied[0].local), tmp_path / "old")
    for family, size in (("vit", 16), ("resnet", 224)):
        digest = trials(studied, "pretrain", family)
        path = tmp_path / "old" / "ledger" / f"{digest}.json"
        plain: dict[str, Any] = json.loads(path.read_text())
        for name in ("image_size", "channels", "classes"):
            del plain["facts"][name]
        path.write_text(json.dumps(plain))
        told = convert(capsys, digest[:10], "x.safetensors", "placement.store=old")
        assert told.endswith(f"8 classes, {size} px, in x.safetensors")


def test_a_fine_tuned_head_is_the_tasks() -> None:
    """As ``--head zero`` leaves it, so the description of such a trial has no pre-logits."""
    arch = ViT(8, 1, 8, 2, pre_logits=True)
    model = build(arch, 16, 3, 4, seed=0)
    reset_head(model, 9)
    with pytest.raises(BadInput, match="pre_logits"):
        save_model(Path("x.safetensors"), model, arch, 16, 3, 9)
