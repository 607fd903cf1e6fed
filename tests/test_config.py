import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.arch import ViT
from pipeline.config import load
from pipeline.errors import BadInput, nearest
from pipeline.schema import PRESETS
from pipeline.track import TrackMode

ROOT = Path(__file__).resolve().parent.parent


def presets(group: str) -> list[str]:
    return sorted(p.stem for p in (PRESETS / group).glob("*.yaml"))


GROUPS = ("arch", "data", "transfer", "recipe", "placement", "device", "track", "study")


@pytest.mark.parametrize(("group", "name"), [(g, n) for g in GROUPS for n in presets(g)])
def test_every_preset_composes(group: str, name: str) -> None:
    load([f"{group}={name}"])


@pytest.mark.parametrize("path", sorted(PRESETS.rglob("*.yaml")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_preset_says_what_it_is_for(path: Path) -> None:
    assert any(line.startswith("# ") and "@package" not in line for line in path.read_text().splitlines())


def test_sweep_grammar() -> None:
    loaded = load(["arch=vit_pico,resnet_pico", "recipe.lr=1e-3,3e-3", "study.seeds=[0,1,2]", "track=off"])
    assert list(loaded.config.archs) == ["vit_pico", "resnet_pico"]
    assert [r.lr for r in loaded.recipes] == [1e-3, 3e-3]
    assert loaded.config.study.seeds == [0, 1, 2]
    assert loaded.config.track.mode is TrackMode.off


def test_an_arch_named_twice_is_one() -> None:
    assert list(load(["arch=vit_pico,vit_pico"]).config.archs) == ["vit_pico"]


@pytest.mark.parametrize("path", ["/tmp/ünï/日本", "/tmp/data (1)", "a b/it's", "x=y", "C:\\dir"])
def test_any_path_can_be_written_plainly(path: str) -> None:
    assert load([f"placement.store={path}"]).config.placement.store == path


def test_arch_fields_reach_every_arch() -> None:
    archs = load(["arch=vit_pico,vit_nano", "arch.depth=3"]).config.archs
    assert [a.depth for a in archs.values() if isinstance(a, ViT)] == [3, 3]


def test_a_folder_of_own_presets(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.yaml").write_text("# @package study\nname: mine\nbudgets: [64]\n")
    assert load(["study=mine"], tmp_path).config.study.budgets == [64]
    (tmp_path / "study" / "wrong.yaml").write_text("# @package study\nbudgest: [64]\n")
    (tmp_path / "study" / "torn.yaml").write_text("study: [a: {\n")
    with pytest.raises(BadInput, match=r"no valid YAML.*torn.yaml"):
        load(["study=torn"], tmp_path)
    with pytest.raises(BadInput, match=r"study.wrong.*budgest.*did you mean .study.budgets"):
        load(["study=wrong"], tmp_path)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("study.nam=x", "did you mean 'study.name'"),
        ("recipe.batchsize=3", "did you mean 'recipe.batch_size'"),
        ("recpe.lr=3", "did you mean 'recipe'"),
        ("recipe.batch_size=big", "'big' of type 'str' could not be converted to Integer"),
        ("recipe.optimizer=adam", "adam"),
        ("study=quikstart", "did you mean 'quickstart'"),
        ("arch=vit_pcio", "did you mean 'vit_pico'"),
        ("+study.foo=1", "There is no key 'study.foo'"),
        ("+foo=1", "There is no key 'foo'"),
        ("recipe.lr=-1", "recipe.lr must be a positive number"),
        ("placement.threads=0", "placement.threads must be positive"),
        ("study.budgets=1,2", r"write study.budgets=\[...\]"),
        ("nonsense", "is not an override"),
        ("data.fractal.classes=0", "choose it with data="),
        ("study.seeds=null", "must not be null"),
        ("recipe.flip=maybe", "not a valid bool"),
        ("recipe.lr=[1]", "could not be converted to Float"),
        ("study=null", "study=null: it does not fit"),
        ("study.seeds.x=3", "study.seeds.x=3: it does not fit"),
        ("recipe.lr=interval(0,1)", "only values in a row"),
        ("+study.sweeps.x.bugets=[1]", "did you mean 'study.sweeps.x.budgets'"),
        ("study.sweeps={x:{budgets:[1]}}", r"To add an entry write \+study.sweeps.x="),
        ("+study.sweeps=3", "without the \\+"),
        ("~study.seeds", "can be taken away"),
        ("arch=[vit_pico,vit_pico]", "vit_pico is chosen twice"),
        ("study.seeds=[]", "study.seeds is empty"),
        ("placement.store=", "placement.store is empty"),
        ("placement.heartbeat_seconds=0", "heartbeat_seconds must be positive"),
        ("placement.cache_gib=inf", "cache_gib must be a number"),
        ("recipe.clip=inf", "recipe.clip must be a number"),
        ("device.price_per_hour=-1", "price_per_hour must be a number and not negative"),
        ("transfer=cifra10", "did you mean 'cifar10'"),
        ("recipe.lr_family.timm=2", r"there is none\. To add an entry write \+recipe.lr_family.timm="),
    ],
)
def test_bad_overrides_get_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence) as caught:
        load([override])
    assert "\n" not in str(caught.value)


def test_a_rate_that_nobody_would_read_is_refused() -> None:
    with pytest.raises(BadInput, match=r"recipe.lr does nothing for vit_b16, .*recipe.lr_arch.vit_b16="):
        load(["arch=vit_b16,vit_pico", "recipe=paper_jft", "recipe.lr=1e-3,2e-3"])
    assert load(["arch=vit_pico", "recipe=paper_jft", "recipe.lr=2e-3"]).config.recipe.lr == 2e-3
    swept = load(["arch=vit_b16", "recipe=paper_jft", "recipe.lr_arch.vit_b16=1e-3,2e-3"])
    assert [r.resolve("vit", "vit_b16").lr for r in swept.recipes] == [1e-3, 2e-3]


def test_a_rate_for_an_arch_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"recipe.lr_arch has no arch 'vit_b61': did you mean 'vit_b16'"):
        load(["arch=vit_pico", "+recipe.lr_arch.vit_b61=1e-3"])
    with pytest.raises(BadInput, match=r"no arch 'vit_pcio': did you mean 'vit_pico'"):
        load(["arch=vit_pico", "recipe=paper_jft", "+recipe.lr_arch.vit_pcio=1e-3,2e-3"])
    swept = load(["arch=vit_pico", "+recipe.lr_arch.vit_pico=1e-3,2e-3"])
    assert [r.resolve("vit", "vit_pico").lr for r in swept.recipes] == [1e-3, 2e-3]
    (tmp_path / "arch").mkdir()
    preset = "# @package archs.{}\ndefaults: [/schema/arch@_here_: vit, _self_]\n"
    for name, key in (("mine", "mine"), ("file", "key")):
        (tmp_path / "arch" / f"{name}.yaml").write_text(preset.format(key))
        rate = f"+recipe.lr_arch.{key}=1e-3"
        assert load(["arch=vit_pico", rate], tmp_path).config.recipe.lr_arch == {key: 1e-3}
        assert load([f"arch={name}", rate], tmp_path).config.recipe.resolve("vit", key).lr == 1e-3
        with pytest.raises(BadInput, match=f"no arch '{key}'"):
            load(["arch=vit_pico", rate])


def test_other_data_take_the_place_of_the_private_ones() -> None:
    config = load(["study=paper_table6", "data=imagenet", "data.imagenet.path=x", "study.data=imagenet"]).config
    assert set(config.data) == {config.study.data} == {"imagenet"}


def test_a_transfer_brings_its_data_along() -> None:
    config = load(["study=quickstart", "transfer=pets,flowers", "data.pets_384.path=x"]).config
    assert set(config.study.tasks) == {"digits", "pets", "flowers"}
    assert set(config.data) == {"fractal", "digits", "pets_384", "flowers_384"}
    with pytest.raises(BadInput, match=r"data\.pets_384 is chosen twice"):
        load(["transfer=pets", "data=fractal,pets_384"])


@given(st.text(min_size=1, max_size=12), st.lists(st.text(min_size=1, max_size=12), max_size=5))
def test_nearest_always_says_something(name: str, valid: list[str]) -> None:
    assert nearest(name, valid)


def test_no_config_is_edited_after_it_was_read() -> None:
    """Outside the dataclasses themselves nothing assigns to a field of a config object."""
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                owner = ast.unparse(target.value).split(".")[-1] if isinstance(target, ast.Attribute) else ""
                assert owner not in ("config", "placement", "recipe", "study", "arch"), f"{path}: {ast.unparse(target)}"
