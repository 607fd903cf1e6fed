"""Modules as a user of arch=module would write them, good ones and bad ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Normed(nn.Module):
    """BatchNorm and dropout; its head is ``fc`` and it says nothing of its features."""

    def __init__(self, channels: int, classes: int, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.norm(self.stem(x)).relu().mean((2, 3))))


class Attentive(nn.Module):
    """Attention twice: torch's own layer, and the operator; the head is the last linear layer of a sequence."""

    def __init__(self, image_size: int, channels: int, classes: int, **kwargs: int) -> None:
        super().__init__()
        self.arguments = {"image_size": image_size, **kwargs}
        self.embed = nn.Conv2d(channels, 8, 4, stride=4)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.top = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.top(self.tokens(x).mean(1))

    def tokens(self, x: Tensor) -> Tensor:
        z = self.layer(self.embed(x).flatten(2).transpose(1, 2))
        return F.scaled_dot_product_attention(z, z, z)


class Stubborn(Attentive):
    """The meta device has no numbers to look at."""

    def __init__(self, image_size: int, channels: int, classes: int) -> None:
        super().__init__(image_size, channels, classes)
        assert torch.ones(()).item() == 1.0


class Telling(Attentive):
    """With a method of its own for the representation."""

    def features(self, x: Tensor) -> Tensor:
        return self.tokens(x).flatten(1)


class Scaled(Normed):
    """What follows the head belongs to the logits, never to the features; the head is known by two names."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.classifier = self.fc

    def forward(self, x: Tensor) -> Tensor:
        return 3 * super().forward(x)


class Headless(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3))


class Dense(Normed):
    """Logits for every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.stem(x).permute(0, 2, 3, 1))


class PerPixel(Normed):
    """The head sees pixels; the mean comes after it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2))


class Aloof(Normed):
    """Never calls its head."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.stem(x).mean((2, 3)), self.fc.weight)


class Broken(nn.Module):
    def __init__(self, classes: int) -> None:
        raise OSError("no such thing")


class Picky(Normed):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("I want other images")


def nothing(classes: int) -> int:
    return classes


NUMBER = 3
