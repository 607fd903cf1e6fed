"""Train-step throughput and peak memory against timm's model of the same shape: python -m benchmarks.throughput

Both take the same images through forward, loss, backward, global clip and fused AdamW in the same precision, on the
CPU, in turns within one process, so that whatever else the machine does hits both. The ratio is the median over
rounds of timm's time by ours; memory is what three steps add, at most, to a process of their own, ours also with
activation checkpointing (``placement.recompute``).
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.table import show
from pipeline.arch import Arch, Hybrid, ResNet, ViT
from pipeline.models.build import build, recompute_activations
from pipeline.models.resnet import KernelsOnce
from pipeline.recipe import Recipe
from pipeline.training.optimizer import build_optimizer

CLASSES = 100


@dataclass
class Case:
    arch: Arch
    image_size: int
    batch: int
    peer: Callable[[], nn.Module]
    """timm's model of the same shape."""
    parts: int = 1
    """Micro-batches whose gradients are gathered for one step."""


def _vit(width: int, heads: int, image_size: int, patch: int) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=image_size, patch_size=patch, embed_dim=width, depth=12, num_heads=heads, num_classes=CLASSES
    )


def _resnet(layers: list[int], width: int) -> nn.Module:
    from timm.layers.std_conv import StdConv2d
    from timm.models.resnetv2 import ResNetV2

    channels = tuple(width * 4 * 2**stage for stage in range(len(layers)))
    conv = partial(StdConv2d, eps=1e-8)
    return ResNetV2(layers, channels, num_classes=CLASSES, stem_chs=width, stem_type="fixed", conv_layer=conv)


def _hybrid(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=CLASSES)


CASES = {
    "ViT-Ti/16, 224 px": Case(ViT(16, 12, 192, 3), 224, 8, lambda: _vit(192, 3, 224, 16)),
    "ViT-S/4, 32 px": Case(ViT(4, 12, 384, 6), 32, 16, lambda: _vit(384, 6, 32, 4)),
    "ResNet26 x1/2, 128 px": Case(ResNet([2, 2, 2, 2], 32), 128, 16, lambda: _resnet([2, 2, 2, 2], 32)),
    "ResNet50x1, 128 px": Case(ResNet(), 128, 8, lambda: _resnet([3, 4, 6, 3], 64)),
    "ResNet50x1, 128 px, 8 x 2 images": Case(ResNet(), 128, 16, lambda: _resnet([3, 4, 6, 3], 64), parts=8),
    "R+Ti/16, 224 px": Case(Hybrid([], width=192, heads=3, patch=8), 224, 8, lambda: _hybrid("vit_tiny_r_s16_p8_224")),
    "R26+S/32, 224 px": Case(
        Hybrid([2, 2, 2, 2], width=384, heads=6), 224, 4, lambda: _hybrid("vit_small_r26_s32_224")
    ),
}


def step_of(model: nn.Module, case: Case, bf16: bool) -> Callable[[], Any]:
    """One training step of this model on a fixed batch, as ``pipeline.training.module`` takes it."""
    optimizer = build_optimizer(model, Recipe(lr=1e-4))
    generator = torch.Generator().manual_seed(0)
    x_BCHW = torch.randn(case.batch, 3, case.image_size, case.image_size, generator=generator)
    labels_B = torch.randint(0, CLASSES, (case.batch,), generator=generator)
    batches = list(zip(x_BCHW.chunk(case.parts), labels_B.chunk(case.parts), strict=True))
    kernels = KernelsOnce(model)
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        with kernels if case.parts > 1 else nullcontext():
            for part_BCHW, target_B in batches:
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = F.cross_entropy(model(part_BCHW), target_B) / case.parts
                loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def make(case: Case, ours: bool, compiled: bool = False) -> nn.Module:
    model = build(case.arch, case.image_size, 3, CLASSES, 0) if ours else case.peer()
    if compiled:
        model.compile()
    return model


def race(case: Case, rounds: int, bf16: bool, compiled: bool) -> tuple[float, float, float]:
    """(our images/s, timm's, median ratio of its time by ours)."""
    steps = [step_of(make(case, ours, compiled), case, bf16) for ours in (True, False)]
    times: list[list[float]] = [[], []]
    for turn in range(rounds + 2):
        for which in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            steps[which]()
            if turn >= 2:
                times[which].append(time.perf_counter() - began)
    ratio = median(b / a for a, b in zip(*times, strict=True))
    return case.batch / median(times[0]), case.batch / median(times[1]), ratio


def peak(name: str, kind: str) -> str:
    """MiB that three steps add to a process of their own, at most; ``kind`` is ours, recomputed or timm."""
    command = [sys.executable, "-m", "benchmarks.throughput", "--peak", name, "--kind", kind]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def print_peak(name: str, kind: str) -> None:
    case = CASES[name]
    model = make(case, ours=False)  # imports what both need
    before = _memory("VmRSS")
    model = make(case, ours=kind != "timm")
    if kind == "recomputed":
        recompute_activations(model)
    step = step_of(model, case, False)
    for _ in range(3):
        step()
    print(f"{_memory('VmHWM') - before:.0f}")


def _memory(field: str) -> float:
    """MiB, from the kernel: ``getrusage`` would inherit the peak of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", default="", help="part of a name")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print_peak(arguments.peak, arguments.kind)
        return
    rows = []
    for name, case in CASES.items():
        if arguments.only not in name:
            continue
        mine, theirs, ratio = race(case, arguments.rounds, arguments.bf16, arguments.compile)
        memory = [peak(name, kind) for kind in ("ours", "timm", "recomputed")]
        rows.append([name, str(case.batch), f"{mine:.1f}", f"{theirs:.1f}", f"**{ratio:.2f}**", *memory])
    show(["shape", "batch", "images/s", "timm", "ratio", "peak MiB", "timm", "recomputed"], rows)


if __name__ == "__main__":
    main()
