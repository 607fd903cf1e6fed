"""External: modules from timm or from the user's own package, in the shape that training and transfer expect.

Importing this file installs the counter of ``pipeline.arch.External``. timm itself, and the user's package, are loaded
only when such an arch is built. Nothing here reaches for a network: weights always start from the seed.

Suffixes: B batch, C channels, H height, W width, K classes, D representation.
"""

import contextlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.arch import Counts, External, Module, Timm
from pipeline.errors import BadInput
from pipeline.trial import canonical_json

OURS = ("num_classes", "in_chans", "img_size")
"""Arguments of timm that follow from the data."""
HEADS = ("head", "fc", "classifier")
"""Where the classifier of a module of the user is looked for first."""


class Adapter(nn.Module):
    """A module made elsewhere, with ``forward(x) -> logits``, ``features(x) -> representation`` and ``head``."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.places = [name for name, part in body.named_modules(remove_duplicate=False) if part is head]

    @property
    def head(self) -> nn.Linear:
        """The classifier, where it lies in the body; setting it replaces it there."""
        head = self.body.get_submodule(self.places[0])
        assert isinstance(head, nn.Linear)
        return head

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "head":
            return super().__setattr__(name, value)
        for place in self.places:
            self.body.set_submodule(place, value)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.body(x_BCHW)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """(B, D): the body's own method ``features`` where it has one, else what enters the head."""
        own = getattr(self.body, "features", None)
        if inspect.ismethod(own):
            return own(x_BCHW)
        seen: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.body(x_BCHW)
        finally:
            hook.remove()
        if not seen:
            raise BadInput(f"The forward of {type(self.body).__name__} never calls its head: give it features(x).")
        return seen[-1]


def make(arch: External, image_size: int, channels: int, classes: int, seed: int, head_bias: float = 0.0) -> Adapter:
    """The module with its own initialisation, drawn from ``seed``; the global generator is left as it was.

    A ``head_bias`` other than 0 is set on every class. Raises BadInput, in one sentence, for a name that does not
    exist, a constructor that raises, and a module without a linear head.
    """
    with _blame(arch, image_size), torch.random.fork_rng(devices=[]):
        model = _construct(arch, image_size, channels, classes, seed)
    if head_bias:
        nn.init.constant_(model.head.bias, head_bias)
    return model


def _construct(arch: External, image_size: int, channels: int, classes: int, seed: int) -> Adapter:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed accelerators, which nobody restores
    if isinstance(arch, Timm):
        body = _from_timm(arch, image_size, channels, classes)
        head = body.get_classifier()  # type: ignore[operator]
    else:
        assert isinstance(arch, Module)
        body = _from_target(arch, {"image_size": image_size, "channels": channels, "classes": classes})
        head = _head(body, classes)
    if not isinstance(head, nn.Linear) or head is body:
        raise BadInput(
            f"{_named(arch)} does not end in one nn.Linear with {classes} outputs, which few-shot and fine-tuning "
            f"need: {'choose another model' if isinstance(arch, Timm) else 'call it head'}."
        )
    return Adapter(body, head)


def _head(body: nn.Module, classes: int) -> nn.Linear | None:
    """``head``, ``fc`` or ``classifier``, else the last linear layer; always one output per class."""
    named = [getattr(body, name, None) for name in HEADS]
    found = [part for part in (*named, *reversed(list(body.modules()))) if isinstance(part, nn.Linear)]
    return next((part for part in found if part.out_features == classes), None)


def _from_timm(arch: Timm, image_size: int, channels: int, classes: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise BadInput("arch=timm needs the timm library: pip install 'crossover[timm]'.") from error
    for name in arch.arguments:
        if name in OURS:
            raise BadInput(f"arch.arguments.{name} follows from the data: leave it out.")
        if any(part in name for part in ("pretrained", "checkpoint")) or name == "features_only":
            raise BadInput(f"arch.arguments.{name} is refused: models train from scratch here, whole; leave it out.")
    names = timm.list_models()
    if arch.name not in names:
        plain = arch.name.split(".")[0]
        hint = f"write {plain!r}, tags name weights." if plain in names else _near(arch.name, names)
        raise BadInput(f"timm {timm.__version__} has no model {arch.name!r}: {hint}")
    settings = {**arch.arguments, "pretrained": False, "num_classes": classes, "in_chans": channels}
    try:
        return timm.create_model(arch.name, img_size=image_size, **settings)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
    return timm.create_model(arch.name, **settings)


def _from_target(arch: Module, shape: dict[str, int]) -> nn.Module:
    """The target, called with the parts of ``shape`` that it takes and the arguments of the arch."""
    path, _, name = arch.target.rpartition(".")
    home = _import(path, arch)
    if not hasattr(home, name):
        public = [n for n, value in vars(home).items() if callable(value) and not n.startswith("_")]
        raise BadInput(f"{_named(arch)}: the module {path} has no {name!r}: {_near(name, public)}")
    target: Callable[..., Any] = getattr(home, name)
    if not callable(target):
        raise BadInput(f"{_named(arch)} is no class or function: name one that returns an nn.Module.")
    parameters = inspect.signature(target).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in arch.arguments:
            if key not in parameters:
                raise BadInput(f"{_named(arch)} takes no argument {key!r}: {_near(key, parameters)}")
        shape = {key: value for key, value in shape.items() if key in parameters}
    made = target(**{**shape, **arch.arguments})
    if not isinstance(made, nn.Module):
        raise BadInput(f"{_named(arch)} gave a {type(made).__name__}: it must give an nn.Module.")
    return made


def _import(path: str, arch: Module) -> ModuleType:
    """A module, also from the current directory, which Ray adds to the path of its workers by itself."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not (path == error.name or path.startswith(f"{error.name}.")):
            raise
        raise BadInput(
            f"{_named(arch)}: there is no module {error.name!r}: run from the folder that holds it, or install it."
        ) from error


_known: dict[tuple[str, int, int, int], Counts] = {}


def counts(arch: External, image_size: int, channels: int, classes: int) -> Counts:
    """Trainable parameters and forward FLOPs of one image, counted once per process on the meta device, or on the CPU
    where the module cannot be built there. ``classes=0`` leaves the head out.

    Raises BadInput for what ``make`` refuses, and for logits or a representation of the wrong shape.
    """
    key = (canonical_json(arch), image_size, channels, classes)
    if key not in _known:
        shape = (image_size, channels, max(1, classes))
        with torch.random.fork_rng(devices=[]):
            try:
                model, flops = _probe(arch, *shape, "meta")
            except BadInput:
                raise
            except Exception:  # whatever a module does that needs numbers
                with _blame(arch, image_size):
                    model, flops = _probe(arch, *shape, "cpu")
        params = sum(p.numel() for p in model.parameters() if p.requires_grad)
        head = Counts(sum(p.numel() for p in model.head.parameters()), 2 * model.head.in_features)
        _known[key] = Counts(params, flops) if classes else Counts(params - head.params, flops - head.flops)
    return _known[key]


def _probe(arch: External, image_size: int, channels: int, classes: int, device: str) -> tuple[Adapter, int]:
    """The module after one image, and what its operators did.

    Evaluation mode, for norms over a batch of one; with gradients and plain attention, because the fused operators
    that torch takes otherwise are not counted.
    """
    with torch.device(device):
        model = _construct(arch, image_size, channels, classes, seed=0).eval()
        image_BCHW = torch.zeros(1, channels, image_size, image_size)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            logits_BK = model(image_BCHW)
        features_BD = model.features(image_BCHW)
    if _shape(logits_BK) != (1, classes):
        raise BadInput(f"{_named(arch)} turns one image into {_said(logits_BK)}: it must give logits (1, {classes}).")
    if len(_shape(features_BD)) != 2 or len(features_BD) != 1:
        raise BadInput(
            f"{_named(arch)} represents one image as {_said(features_BD)}: give it a method features(x) -> (B, D)."
        )
    if not counter.get_total_flops():
        raise BadInput(f"{_named(arch)} has no matrix product or convolution, so its FLOPs cannot be counted.")
    return model, counter.get_total_flops()


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _said(value: Any) -> str:
    return f"a tensor of shape {_shape(value)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


@contextlib.contextmanager
def _blame(arch: External, image_size: int) -> Iterator[None]:
    """What the foreign code raises, as one sentence with the place."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}torch{os.sep}" not in f.filename]
        last = frames[-1]
        place = f" ({os.path.basename(last.filename)}, line {last.lineno})" if last.filename != __file__ else ""
        text = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
        raise BadInput(
            f"{_named(arch)} does not work at {image_size} px: {type(error).__name__}: {text}{place}: "
            "change it, its arch.arguments or the size of the images."
        ) from error


def _named(arch: External) -> str:
    return f"arch.name={arch.name}" if isinstance(arch, Timm) else f"arch.target={getattr(arch, 'target', '')}"


def _near(name: str, valid: Iterable[str]) -> str:
    close = get_close_matches(name, list(valid), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else "nothing there has a name like it."


External.counter = counts
