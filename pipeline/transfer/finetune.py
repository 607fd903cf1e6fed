"""Fine-tuning: all weights, a fresh zero head, SGD with momentum, cosine decay, clip at 1 (2010.11929, Table 4)."""

from pipeline.recipe import Loss, Optimizer, Recipe, Schedule
from pipeline.trial import FineTune


def finetune_recipe(protocol: FineTune) -> Recipe:
    """No augmentation unless asked for: the protocol must suit digits too, which may not be mirrored."""
    warmup = protocol.warmup_steps
    return Recipe(
        batch_size=protocol.batch_size,
        optimizer=Optimizer.sgd,
        lr=protocol.lr,
        schedule=Schedule.cosine,
        warmup=protocol.steps * protocol.batch_size // 10 if warmup is None else warmup * protocol.batch_size,
        weight_decay=0.0,
        momentum=0.9,
        momentum_dtype=protocol.momentum_dtype,
        clip=1.0,
        loss=Loss.softmax,
        crop_padding=0,
        crop_area=protocol.crop_area,
        flip=protocol.flip,
    )
