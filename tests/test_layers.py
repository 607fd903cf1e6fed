"""The house: a file imports only from rows above its own (docs/design.md); light rows load no heavy package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS: list[tuple[int, tuple[str, ...]]] = [
    (0, ("pipeline", "pipeline.errors")),
    (1, ("pipeline.arch", "pipeline.recipe", "pipeline.subset")),
    (2, ("pipeline.trial", "data_prep")),
    (
        3,
        (
            *("pipeline.task", "pipeline.study", "pipeline.plan", "pipeline.price", "pipeline.store", "pipeline.lease"),
            *("pipeline.ledger", "pipeline.record", "pipeline.result", "pipeline.manifest", "pipeline.placement"),
            "pipeline.job",
        ),
    ),
    (4, ("pipeline.laws", "pipeline.report")),
    (5, ("pipeline.models", "pipeline.data", "pipeline.training", "pipeline.transfer")),
    (
        6,
        (
            *(
                "pipeline.cluster",
                "pipeline.gang",
                "pipeline.pool",
                "pipeline.progress",
                "pipeline.track",
                "pipeline.fragment",
                "pipeline.mirror",
            ),
            "pipeline.wandb_service",
            *("pipeline.conclude", "pipeline.terminal"),
        ),
    ),
    (
        7,
        (
            *("pipeline.schema", "pipeline.compose", "pipeline.overrides", "pipeline.config"),
            "pipeline.homes",
            "pipeline.prepared",
            "pipeline.bench",
            "pipeline.commands",
            "pipeline.lookup",
            *("pipeline.candidates", "pipeline.advice", "pipeline.adaptive", "pipeline.proposal"),
            "pipeline.fitting",
            "pipeline.splitting",
            "pipeline.convert",
            "pipeline.cli",
            "pipeline.__main__",
        ),
    ),
]
ONLY = {
    "ray": {"pipeline.cluster", "pipeline.gang"},
    "wandb": {"pipeline.wandb_service"},
    "hydra": {"pipeline.schema", "pipeline.compose", "pipeline.overrides", "pipeline.config"},
}


def row(module: str) -> int:
    matches = [(len(p), r) for r, prefixes in ROWS for p in prefixes if module == p or module.startswith(p + ".")]
    exact = [r for r, prefixes in ROWS for p in prefixes if module == p]
    longest = exact or [r for _, r in sorted(matches)[-1:]]
    if not longest or (module.startswith("pipeline.") and max(matches)[0] == len("pipeline")):
        pytest.fail(f"{module} belongs to no row: give it one in tests/test_layers.py and docs/design.md")
    return longest[0]


def modules() -> dict[str, Path]:
    found = {}
    for package in ("pipeline", "data_prep"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_only_from_rows_above(module: str) -> None:
    known = modules()
    own = row(module)
    for name in imports(known[module]) & set(known):
        if name.split(".")[0] == module.split(".")[0] == "data_prep":
            continue
        same_part = name.rsplit(".", 1)[0] == module.rsplit(".", 1)[0] or row(name) == own
        assert row(name) < own or same_part, f"{module} (row {own}) imports {name} (row {row(name)})"
        assert {own, row(name)} != {4, 5}, f"{module} and {name}: rows 4 and 5 never import each other"


@pytest.mark.parametrize("module", sorted(modules()))
def test_heavy_packages_have_one_door(module: str) -> None:
    tops = {name.split(".")[0] for name in imports(modules()[module])}
    for package, doors in ONLY.items():
        assert package not in tops or module in doors, f"{module} imports {package}: only {sorted(doors)} may"


def test_data_prep_knows_nothing_of_the_pipeline_but_its_nouns() -> None:
    for module, path in modules().items():
        if module.startswith("data_prep"):
            used = {n for n in imports(path) if n.startswith("pipeline.")}
            allowed = ("pipeline.subset", "pipeline.errors")
            assert all(n.startswith(allowed) for n in used), f"{module} imports {used}"


def test_planning_loads_no_torch_ray_or_wandb() -> None:
    code = (
        "import sys, pipeline.commands, pipeline.conclude, pipeline.report.page\n"
        "print([m for m in ('torch', 'ray', 'wandb', 'lightning', 'pandas') if m in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert made.stdout.strip() == "[]"
