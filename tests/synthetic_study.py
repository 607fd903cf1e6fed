"""A study that was never run: rows drawn from known power laws with noise, for the tests of the report.

ResNet is better at little compute, ViT at much; Hybrid lies between. They cross inside the measured range.
"""

import json
import math
import random
from hashlib import sha256
from typing import Any

Row = dict[str, Any]
METRIC = "val_error"
# family: (floor, factor at 1e13 FLOPs, exponent)
LAWS = {"vit": (0.05, 0.74, 0.30), "hybrid": (0.06, 0.60, 0.25), "resnet": (0.08, 0.50, 0.21)}
ARCHS = {
    "vit": {"vit_nano": (210_000, 2.4e7), "vit_micro": (810_000, 9.6e7)},
    "hybrid": {"hybrid_nano": (260_000, 3.1e7), "hybrid_micro": (930_000, 1.2e8)},
    "resnet": {"resnet_nano": (180_000, 2.8e7), "resnet_micro": (700_000, 1.1e8)},
}
BUDGETS = [40_960, 122_880, 368_640, 1_105_920]
SIZES = [4_096, 12_288, 28_800]
SEEDS = [0, 1]
DATASET = sha256(b"fractal").hexdigest()
DIGITS = sha256(b"digits").hexdigest()
CONVENTION = "2 per multiply-add; training = 3 x forward x samples seen; padding included; own budget, not shared"


def law(family: str, flops: float) -> float:
    floor, factor, exponent = LAWS[family]
    return floor + factor * (flops / 1e13) ** -exponent


def rows() -> list[Row]:
    """Compute sweep, data sweep, transfers; one trial diverged, one failed."""
    noise = random.Random(7)
    found: list[Row] = []
    for family, archs in ARCHS.items():
        for arch in archs:
            places = [(SIZES[-1], b) for b in BUDGETS] + [(s, BUDGETS[2]) for s in SIZES[:-1]]
            for size, budget in places:
                for seed in SEEDS:
                    found.append(_pretrain(noise, family, arch, size, budget, seed))
    _spoil(found)
    transfers = [
        _transfer(noise, parent, protocol, shots)
        for parent in found
        if parent["samples"] == SIZES[-1] and parent["outcome"] == "done"
        for protocol, shots in (("fewshot", 5), ("finetune", None))
    ]
    return found + transfers


def study(planned: int | None = None, curves: bool = True) -> Row:
    made = rows()
    return {
        "name": "quickstart",
        "question": "At what data and compute does a ViT overtake a CNN?",
        "metric": METRIC,
        "config_yaml": "study:\n  name: quickstart\n  metric: val_error\n  seeds: [0, 1]\n"
        "recipe:\n  schedule: wsd\n  lr: 0.001  # <b>not markup</b>\n",
        "created": "2026-11-24 14:00 UTC",
        "version": "0.1.0",
        "totals": {
            "flops_executed": sum(r["train_flops"] for r in made if r["kind"] == "pretrain") * 0.58,
            "flops_unshared": sum(r["train_flops"] for r in made if r["kind"] == "pretrain"),
            "device_seconds": 2_417.0,
            "trials_planned": planned if planned is not None else len(made),
        },
        "curves": _curves(made) if curves else [],
    }


def analysis() -> Row:
    """The plain form of an Analysis, as a fit that found exactly the true laws would give it."""
    return {
        "metric": METRIC,
        "headline": "ViT overtakes ResNet at 0.29 PFLOPs of training compute (90 % interval 0.17 to "
        "0.52 PFLOPs), on Fractal-64 by validation error.",
        "laws": [_law_row(f) for f in LAWS],
        "crossings": [
            {
                "axis": "compute", "a": "vit", "b": "resnet", "answer": "crosses", "x": 2.9e14, "lo": 1.7e14,
                "hi": 5.2e14, "level": 0.9, "probability_in_range": 0.97,
                "sentence": "ViT overtakes ResNet at 290 TFLOPs (90 % interval 170 to 520 TFLOPs).",
            },
            {
                "axis": "data", "a": "vit", "b": "resnet", "answer": "cannot tell", "x": None, "lo": None,
                "hi": None, "level": 0.9, "probability_in_range": 0.41,
                "sentence": "With three data sizes the data cannot tell whether ViT overtakes ResNet.",
            },
        ],
        "checklist": {"form": "E + A x^-alpha", "loss": "Huber on ln y", "starts": "64", "code": ""},
    }  # fmt: skip


def fitted(laws: Any) -> Row:
    """The plain form of the Analysis that ``pipeline.laws.comparison.analysis`` (given) makes of these rows."""
    made = [r for r in rows() if r["kind"] == "pretrain" and r["outcome"] == "done"]
    points: dict[str, list[Any]] = {"compute": [], "data": []}
    for row in made:
        about = {k: row[k] for k in ("family", "arch", "seed")} | {"run": row["digest"], "y": row[METRIC]}
        if row["samples"] == SIZES[-1]:
            points["compute"].append(laws.Point(**about, x=row["train_flops"]))
        if row["budget"] == BUDGETS[2]:
            points["data"].append(laws.Point(**about, x=row["samples"]))
    plain = laws.analyse(points, METRIC).to_json()
    return json.loads(plain) if isinstance(plain, str | bytes) else plain


def _law_row(family: str) -> Row:
    floor, factor, exponent = LAWS[family]
    xs = [3e12 * 10 ** (k * 3.6 / 59) for k in range(60)]
    top = 3 * next(iter(reversed(ARCHS[family].values())))[1] * BUDGETS[-1]
    spread = [0.03 + 0.05 * max(0.0, math.log10(x / 1e14)) for x in xs]
    return {
        "family": family, "axis": "compute", "metric": METRIC, "form": "power_floor",
        "params": {"E": floor, "A": factor * 1e13**exponent, "alpha": exponent},
        "intervals": {"E": [floor * 0.7, floor * 1.3], "alpha": [exponent - 0.03, exponent + 0.04],
                      "A": [factor * 1e12**exponent, factor * 1e14**exponent]},
        "level": 0.9, "status": "converged", "n_points": 14, "n_runs": 14,
        "band": {"x": xs, "mid": [law(family, x) for x in xs],
                 "lo": [law(family, x) * math.exp(-s) for x, s in zip(xs, spread, strict=True)],
                 "hi": [law(family, x) * math.exp(s) for x, s in zip(xs, spread, strict=True)]},
        "holdout": {"x": top, "predicted": law(family, top), "observed": law(family, top) * 1.02,
                    "log_error": 0.0198},
        "excluded": [{"run": "0" * 64, "reason": "not on the lower envelope"}] if family == "hybrid" else [],
    }  # fmt: skip


def _pretrain(noise: random.Random, family: str, arch: str, size: int, budget: int, seed: int) -> Row:
    params, forward = ARCHS[family][arch]
    flops = 3 * forward * budget
    scarce = 1 + 0.35 * (SIZES[-1] / size - 1) ** 0.5 * (0.8 if family == "resnet" else 1.0)
    error = min(0.97, law(family, flops) * scarce * math.exp(noise.gauss(0, 0.02)))
    return {
        "digest": sha256(f"{arch}/{size}/{budget}/{seed}".encode()).hexdigest(), "kind": "pretrain",
        "study": "quickstart", "family": family, "arch": arch, "params": params, "dataset": DATASET,
        "samples": size, "budget": budget, "epochs": budget / size, "seed": seed, "lr": 1e-3,
        "train_flops": flops, "forward_flops": forward, "flops_convention": CONVENTION,
        "device_seconds": flops / 4e10, "device": "cpu", "outcome": "done", "reason": "", "log": "",
        "val_error": error, "val_loss": 4 * error, "train_loss": 3.6 * error, "parent": None, "task": None,
        "protocol": None, "shots": None, "test_error": None, "finished": "2026-11-24T13:50:00+00:00",
        "crossover_version": "0.1.0", "torch_version": "2.9.1",
    }  # fmt: skip


def _transfer(noise: random.Random, parent: Row, protocol: str, shots: int | None) -> Row:
    error = parent["val_error"] * (0.6 if protocol == "fewshot" else 0.28) * math.exp(noise.gauss(0, 0.03))
    return {
        **parent, "digest": sha256(f"{parent['digest']}/{protocol}".encode()).hexdigest(), "kind": "transfer",
        "parent": parent["digest"], "task": "digits", "protocol": protocol, "shots": shots,
        "test_error": error,
        "val_error": None, "val_loss": None, "train_loss": None, "dataset": DIGITS, "device_seconds": 0.8,
    }  # fmt: skip


def _spoil(found: list[Row]) -> None:
    gone = {"val_error": None, "val_loss": None, "train_loss": None}
    found[5].update(gone, outcome="diverged", reason="loss is not finite at step 812 of 960")
    found[-9].update(
        gone, outcome="failed", reason="shard train-00003.tar, key 00001742: image bytes are truncated",
        log="Traceback (most recent call last):\n  File \"reader.py\"\n</script><script>alert(1)</script>",
    )  # fmt: skip


def _curves(made: list[Row]) -> list[Row]:
    found = []
    for row in made:
        if row["kind"] == "pretrain" and row["outcome"] == "done" and row["budget"] == BUDGETS[-1]:
            seen = [row["budget"] * k // 200 for k in range(1, 201)]
            per_sample = row["train_flops"] / row["budget"] / 1e18
            floor, factor, exponent = LAWS[row["family"]]
            loss = [4 * (floor + factor * (s * per_sample * 1e18 / 1e13 + 0.02) ** -exponent) for s in seen]
            same = {name: row[name] for name in ("digest", "family", "arch")}
            flops = [s * per_sample for s in seen]
            found.append({**same, "samples": seen, "exaflops": flops, "loss": loss})
    return found
