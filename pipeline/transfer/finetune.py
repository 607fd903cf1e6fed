"""Fine-tuning: all weights, a fresh zero head, SGD with momentum, cosine decay, clip at 1 (2010.11929, Table 4)."""

from pipeline.recipe import Loss, Optimizer, Recipe, Schedule
from pipeline.trial import FineTune


def finetune_recipe(protocol: FineTune) -> Recipe:
    """No augmentation: the same protocol must suit digits, which may not be mirrored, and natural images."""
    return Recipe(
        batch_size=protocol.batch_size,
        optimizer=Optimizer.sgd,
        lr=protocol.lr,
        schedule=Schedule.cosine,
        warmup=protocol.steps * protocol.batch_size // 10,
        weight_decay=0.0,
        momentum=0.9,
        clip=1.0,
        loss=Loss.softmax,
        crop_padding=0,
        flip=False,
    )
