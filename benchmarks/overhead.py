"""Overhead per trial: 32 trials of about a second of training, as a Crossover study and as Ray Tune function trials.

Both train the same model by the same Lightning module on the same prepared data, as many at a time as there are
cores, each side a whole process from start to end. Nothing is shared between trials: the schedule is linear.

    python -m benchmarks.overhead [TRIALS]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import show

STEPS, BATCH = 64, 32
STUDY = ["arch=vit_pico", "data=fractal", "recipe=tiny32", "recipe.schedule=linear", "study.data=fractal", "track=off"]
STUDY += [f"study.budgets=[{STEPS * BATCH}]", "data.fractal.classes=20", "data.fractal.per_class=300"]
TUNE = """
import os, sys, time
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
import ray
from ray import tune

def trial(config):
    import lightning as L
    import torch
    from pipeline.config import load
    from pipeline.data.datamodule import Batches, SegmentData
    from pipeline.data.reader import Reader
    from pipeline.models.build import build
    from pipeline.subset import Subset
    from pipeline.training.evaluate import evaluate
    from pipeline.training.module import Classifier
    torch.set_num_threads(1)
    loaded = load({study!r})
    arch, recipe = next(iter(loaded.config.archs.values())), loaded.recipes[0].resolve("vit")
    reader = Reader.open({folder!r}, "train")
    data = reader.dataset
    model = build(arch, data.image_size, data.channels, data.classes, config["seed"])
    module = Classifier(model, recipe, config["seed"], {steps})
    subset = Subset(data.id, data.samples)
    batches = SegmentData(Batches(reader, subset, config["seed"], recipe.batch_size, 0, {steps}))
    began = time.monotonic()
    L.Trainer(accelerator="cpu", devices=1, logger=False, max_steps={steps}, max_epochs=-1, gradient_clip_val=1.0,
              enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False).fit(module, batches)
    seconds = time.monotonic() - began
    tune.report({{"val_error": evaluate(model, Reader.open({folder!r}, "val"))["error"], "train_seconds": seconds}})

ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
tuner = tune.Tuner(
    tune.with_resources(trial, {{"cpu": 1}}),
    param_space={{"seed": tune.grid_search(list(range({trials})))}},
    run_config=tune.RunConfig(storage_path={storage!r}, verbose=0),
)
results = tuner.fit()
assert not results.errors
print("TRAIN", sum(r.metrics["train_seconds"] for r in results))
"""


def crossover(trials: int, cwd: Path) -> tuple[float, float]:
    """(wall seconds of the whole command, device-seconds of training and evaluation)."""
    seeds = f"study.seeds=[{','.join(map(str, range(trials)))}]"
    wall = timed([sys.executable, "-m", "pipeline", "run", *STUDY, seeds], cwd)[0]
    records = [json.loads(p.read_text()) for p in (cwd / "runs" / "states").rglob("*.json")]
    return wall, sum(r["seconds"] for r in records)


def tune(trials: int, cwd: Path) -> tuple[float, float]:
    folder = next((cwd / "data").glob("fractal-*"))
    code = TUNE.format(study=STUDY, folder=str(folder), steps=STEPS, trials=trials, storage=str(cwd / "tune"))
    wall, output = timed([sys.executable, "-c", code], cwd)
    return wall, float(output.rsplit("TRAIN", 1)[1].split()[0])


def timed(command: list[str], cwd: Path) -> tuple[float, str]:
    began = time.perf_counter()
    made = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, made.stdout


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    slots = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        subprocess.run([sys.executable, "-m", "pipeline", "prepare", *STUDY], cwd=here, check=True, capture_output=True)
        measured = {"Ray Tune function trials": tune(count, here), "Crossover": crossover(count, here)}
    base = measured["Ray Tune function trials"][0]
    rows = [
        [
            name,
            f"{wall:.1f} s",
            f"{training:.1f} s",
            f"{(wall * slots - training) / count:.2f} s",
            f"{base / wall:.1f} x",
        ]
        for name, (wall, training) in measured.items()
    ]
    show([f"{count} trials on {slots} cores", "wall", "training", "overhead per trial (core-s)", "speed"], rows)
