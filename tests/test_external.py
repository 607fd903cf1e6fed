"""Modules made elsewhere: built from the seed, counted and named in the config like the paper's families."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.arch import External, Module, Timm
from pipeline.config import load
from pipeline.errors import BadInput
from pipeline.models.build import build, reset_head
from pipeline.models.external import Adapter, make
from pipeline.training.state import State
from pipeline.trial import digest

ROOT = Path(__file__).resolve().parent.parent
TIMM = ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"]
OWN = ["Normed", "Attentive", "Stubborn", "Telling", "Scaled"]


def timm_arch(name: str, **arguments: Any) -> Timm:
    pytest.importorskip("timm")
    return Timm(name=name, arguments=arguments)


def own(name: str, **arguments: Any) -> Module:
    return Module(target=f"foreign.{name}", arguments=arguments)


def arch_of(name: str) -> External:
    return timm_arch(name) if name in TIMM else own(name)


def checked_flops(arch: External) -> int:
    arch.check(32)
    return arch.flops(32, 3, 7)


def images(count: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("name", [*TIMM, *OWN])
def test_the_contract(name: str) -> None:
    """Logits, a representation, and a head that can be replaced by a zero one with other classes."""
    model = build(arch_of(name), 32, 3, 7, seed=1)
    assert isinstance(model, Adapter) and model.training
    model.eval()
    with torch.no_grad():
        logits, features = model(images()), model.features(images())
    assert logits.shape == (2, 7)
    if name != "Telling":
        assert torch.equal(model.head(features) * (3 if name == "Scaled" else 1), logits)
    assert not model.head._forward_pre_hooks
    keys = set(model.state_dict())
    reset_head(model, 5)
    assert set(model.state_dict()) == keys
    with torch.no_grad():
        assert torch.equal(model(images()), torch.zeros(2, 5))
        assert torch.equal(model.features(images()), features)


@pytest.mark.parametrize("name", TIMM)
def test_features_are_timms_pre_logits(name: str) -> None:
    model = make(timm_arch(name), 32, 3, 7, seed=1).eval()
    body: Any = model.body
    expected = body.forward_head(body.forward_features(images()), pre_logits=True)
    assert torch.equal(model.features(images()), expected)


def test_the_own_features_are_taken() -> None:
    assert make(own("Telling"), 32, 3, 7, seed=0).features(images()).shape == (2, 64 * 8)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "Normed", "Attentive"])
def test_the_seed_alone_fixes_the_weights(name: str) -> None:
    arch = arch_of(name)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build(arch, 32, 3, 7, seed=1).state_dict()
    arch.flops(48, 3, 9)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = build(arch, 32, 3, 7, seed=1).state_dict(), build(arch, 32, 3, 7, seed=2).state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_another_process_starts_from_the_same_weights() -> None:
    code = (
        "from pipeline.arch import Module; from pipeline.models.build import build\n"
        "model = build(Module(target='foreign.Normed'), 32, 3, 7, seed=1)\n"
        "print(float(sum(p.double().sum() for p in model.state_dict().values())).hex())"
    )
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **path})
    here = build(own("Normed"), 32, 3, 7, seed=1).state_dict().values()
    assert told.stdout.strip() == float(sum(p.double().sum() for p in here)).hex(), told.stderr


def test_counts_by_hand() -> None:
    arch = own("Normed", width=6)
    assert arch.params(32, 3, 10) == 9 * 3 * 6 + 2 * 6 + 7 * 10
    assert arch.flops(32, 3, 10) == 2 * (16 * 16 * 9 * 3 * 6 + 6 * 10)
    assert arch.params(32, 3, 0) == 9 * 3 * 6 + 2 * 6
    assert arch.flops(32, 3, 0) == 2 * 16 * 16 * 9 * 3 * 6


@pytest.mark.parametrize("name", ["Attentive", "Stubborn"])
def test_attention_is_counted_on_either_device(name: str) -> None:
    """Torch's fast paths for attention are single operators without a count."""
    tokens, d, m = 64, 8, 16
    layer = 2 * tokens * (4 * d * d + 2 * d * m) + 4 * tokens**2 * d
    expected = 2 * tokens * 48 * d + layer + 4 * tokens**2 * d + 2 * d * 10
    assert arch_of(name).flops(32, 3, 10) == expected


def test_a_vit_of_timm_costs_what_ours_does() -> None:
    from pipeline.arch import ViT

    theirs, ours = timm_arch("vit_tiny_patch16_224"), ViT(patch=16, depth=12, width=192, heads=3)
    for size in (64, 96):
        assert theirs.params(size, 3, 10) == ours.params(size, 3, 10)
        assert theirs.flops(size, 3, 10) == ours.flops(size, 3, 10)


def test_only_what_the_signature_takes_is_given() -> None:
    body: Any = make(own("Attentive", extra=5), 32, 3, 7, seed=0).body
    assert body.arguments == {"image_size": 32, "extra": 5}
    assert make(own("Normed", width=6), 32, 1, 7, seed=0).head.in_features == 6


def test_head_bias_reaches_every_class() -> None:
    assert torch.equal(build(own("Normed"), 32, 3, 4, seed=0, head_bias=-2.0).head.bias, torch.full((4,), -2.0))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("foreign.Norme", "has no 'Norme': did you mean 'Normed'"),
        ("foreing.Normed", "there is no module 'foreing': run from the folder that holds it"),
        ("foreign.NUMBER", "is no class or function"),
        ("foreign.nothing", "gave a int: it must give an nn.Module"),
        ("foreign.Headless", r"one nn.Linear with 7 outputs.*call it head"),
        ("foreign.Dense", r"a tensor of shape \(1, 16, 16, 7\): it must give logits \(1, 7\)"),
        ("foreign.PerPixel", r"features\(x\) -> \(B, D\)"),
        ("foreign.Aloof", r"never calls its head: give it features\(x\)"),
        ("foreign.Broken", r"does not work at 32 px: OSError: no such thing \(foreign.py, line \d+\)"),
        ("foreign.Picky", r"ValueError: I want other images \(foreign.py"),
        ("Normed", "give arch.target=package.Class"),
    ],
)
def test_a_bad_target_gets_one_sentence(target: str, sentence: str) -> None:
    arch = Module(target=target)
    with pytest.raises(BadInput, match=sentence) as caught:
        checked_flops(arch)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("resnet81", {}, "has no model 'resnet81': did you mean 'resnet18'"),
        ("resnet18.a1_in1k", {}, "write 'resnet18'"),
        ("hf-hub:timm/resnet18", {}, "has no model"),
        ("test_vit", {"pretrained": True}, "arch.arguments.pretrained is refused"),
        ("test_vit", {"pretrained_cfg": {}}, "is refused"),
        ("test_vit", {"checkpoint_path": "x"}, "is refused"),
        ("test_vit", {"num_classes": 3}, "follows from the data"),
        ("test_resnet", {"dept": 3}, "unexpected keyword argument 'dept'"),
        ("levit_128s", {}, "does not end in one nn.Linear.*choose another model"),
        ("", {}, "give arch.name"),
    ],
)
def test_a_bad_timm_model_gets_one_sentence(name: str, arguments: dict[str, Any], sentence: str) -> None:
    arch = timm_arch(name, **arguments)
    with pytest.raises(BadInput, match=sentence) as caught:
        checked_flops(arch)
    assert "\n" not in str(caught.value)


def test_an_unknown_argument_gets_the_nearest() -> None:
    with pytest.raises(BadInput, match="takes no argument 'widht': did you mean 'width'"):
        own("Normed", widht=3).flops(32, 3, 7)


def test_without_timm_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BadInput, match=r"pip install 'crossover\[timm\]'"):
        Timm(name="resnet18").flops(32, 3, 7)


def test_a_target_may_lie_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_of_mine.py").write_text("from foreign import Normed\nimport absent_package\n")
    with pytest.raises(BadInput, match=r"No module named 'absent_package' \(nets_of_mine.py, line 2"):
        Module(target="nets_of_mine.Normed").flops(32, 3, 7)
    (tmp_path / "nets_of_mine.py").write_text("from foreign import Normed\n")
    assert Module(target="nets_of_mine.Normed").flops(32, 3, 7) == own("Normed").flops(32, 3, 7)


def test_identity_is_name_and_arguments() -> None:
    one = Timm(name="resnet18", arguments={"drop_rate": 0.1})
    assert digest(one) == digest(replace(one, compare_as="CNN"))
    others = [replace(one, name="resnet34"), replace(one, arguments={}), Module(target="resnet18.x")]
    assert len({digest(arch) for arch in (one, *others)}) == 4
    # Golden: what was run stays known.
    golden = "e6f153b878666be3d8977e0d2c1361646e51a2f575155651640a4c23c844c951"
    assert digest(one) == golden
    golden = "c76957bc392c3d61579e708dfb8e3577fe7534247655fbb644ad2d4aa8bb991f"
    assert digest(Module(target="nets.Small", arguments={"width": 8})) == golden


def test_a_field_reaches_the_archs_that_have_it() -> None:
    words = ["arch=timm,vit_pico,module", "arch.name=resnet18", "arch.depth=5", "arch.arguments.drop_rate=0.1"]
    archs: dict[str, Any] = load([*words, "archs.module.arguments.width=3"]).config.archs
    assert archs["timm"] == Timm(name="resnet18", arguments={"drop_rate": 0.1})
    assert archs["module"].arguments == {"drop_rate": 0.1, "width": 3}
    assert archs["vit_pico"].depth == 5
    with pytest.raises(BadInput, match=r"no arch of the study \(timm\) has a field 'nam'.*did you mean 'arch.name'"):
        load(["arch=timm", "arch.nam=resnet18"])


def test_name_and_target_need_no_group(tmp_path: Path) -> None:
    (tmp_path / "arch").mkdir()
    (tmp_path / "arch" / "mine.yaml").write_text(
        "# @package archs.mine\ndefaults: [{/schema/arch@_here_: timm}, _self_]\n"
    )
    words = ["arch=timm,vit_pico,module", "target=nets.Net", "name=resnet18", "arguments.drop_rate=0.1"]
    archs: dict[str, Any] = load(words).config.archs
    assert archs["timm"] == Timm(name="resnet18", arguments={"drop_rate": 0.1})
    assert archs["module"] == Module(target="nets.Net", arguments={"drop_rate": 0.1})
    loaded = load(["arch=timm", "name=resnet18", "study.name=x"])
    assert loaded.config.study.name == "x" and loaded.config.archs["timm"] == Timm(name="resnet18")
    with pytest.raises(BadInput, match="no key 'names'"):
        load(["arch=timm", "names=resnet18"])
    with pytest.raises(BadInput, match=r"did you mean 'arch.name' or 'study.name'"):
        load(["arch=mine", "name=resnet18"], tmp_path)
    with pytest.raises(BadInput, match=r"did you mean 'study.name'"):
        load(["arch=vit_pico", "name=x"])
    with pytest.raises(BadInput, match="no key 'target'"):
        load(["arch=timm", "target=x.Y"])


def test_only_a_study_with_such_an_arch_loads_torch_to_plan() -> None:
    code = (
        "import sys; sys.path.append('tests'); from argparse import Namespace; from pipeline.prepared import *\n"
        "words = ['data=fractal', 'study.data=fractal', 'study.budgets=[640]', 'arch=vit_pico']\n"
        "plan_study(load_config(Namespace(words=words, conf=None)), False); print('torch' in sys.modules)\n"
        "words[-1:] = ['arch=module', 'arch.target=foreign.Normed']\n"
        "print(plan_study(load_config(Namespace(words=words, conf=None)), False).plan.flops)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    lazy, flops = told.stdout.split()
    assert lazy == "False"
    assert int(flops) == 3 * 640 * own("Normed").flops(32, 3, 64)


def test_counters_of_batches_survive_a_state() -> None:
    model = make(own("Normed"), 16, 3, 4, seed=0)
    for _ in range(3):
        model(images(size=16))
    state = State.from_bytes(State.capture(1, model, None, {}, {}).to_bytes())
    other = make(own("Normed"), 16, 3, 4, seed=1)
    other.load_state_dict(state.model)
    norm = other.get_submodule("body.norm")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_batches_tracked is not None and norm.num_batches_tracked.dtype is torch.int64
    assert int(norm.num_batches_tracked) == 3
    assert torch.equal(other.eval()(images(size=16)), model.eval()(images(size=16)))
