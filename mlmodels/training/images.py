"""Pictures of ink → a fitted ImageCNN that also copes with other hands and pens.

Every epoch sees each picture distorted anew: turned, slanted, stretched, bent, with
thicker or thinner strokes, blurred and noisy. What is distorted has gone through the same
preparation as a person's drawing will, and is fitted into the frame again afterwards.
"""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mlmodels import ink
from mlmodels.architectures import ImageCNN
from mlmodels.training import Progress, Report
from mlmodels.training.steps import batches, one_thread

PREPARED = 32  # pixels: the resolution at which pictures are kept and distorted
FAINT = 0.35


@dataclass(frozen=True)
class Settings:
    """How one fit goes, and how far pictures are distorted (radians, shares of the side)."""

    epochs: int = 18
    batch: int = 64
    lr: float = 8e-3
    weight_decay: float = 0.02
    smoothing: float = 0.05
    dropout: float = 0.2
    size: int = 16
    widths: tuple[int, ...] = (16, 32, 64)
    turn: float = 0.22
    slant: float = 0.30
    stretch: float = 0.45
    bend: float = 0.12
    shift: float = 0.04
    noise: float = 0.05


def fit(
    pictures: list[Image.Image],
    labels: np.ndarray[Any, Any],
    classes: list[str],
    settings: Settings,
    *,
    seed: int,
    progress: Report,
) -> tuple[ImageCNN, dict[str, Any], dict[str, Any]]:
    """A module trained on all the pictures given, its params, and the parameters used."""
    params: dict[str, Any] = {
        "classes": classes,
        "size": settings.size,
        "widths": list(settings.widths),
        "dropout": settings.dropout,
    }
    kept = torch.from_numpy(np.stack([ink.prepare(picture, PREPARED) for picture in pictures]))
    target = torch.from_numpy(labels)
    with one_thread():
        torch.manual_seed(seed)
        module = ImageCNN(**params)
        _normalise(module, kept[:, None])
        _train(module, kept[:, None], target, settings, progress)
    return module.eval(), params, {"seed": seed, **asdict(settings)}


def _normalise(module: ImageCNN, x: Tensor) -> None:
    module.mean.fill_(float(x.mean()))
    module.std.fill_(float(x.std()))


def _train(module: ImageCNN, x: Tensor, y: Tensor, settings: Settings, progress: Report) -> None:
    """All epochs, with one rise and fall of the learning rate."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = -(-len(x) // settings.batch) * settings.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=steps)
    module.train()
    for epoch in range(settings.epochs):
        distorted = distort(x, settings)
        total, right = 0.0, 0
        for chosen in batches(len(x), settings.batch):
            logits = module(distorted[chosen])
            loss = functional.cross_entropy(logits, y[chosen], label_smoothing=settings.smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
            right += int((logits.argmax(dim=1) == y[chosen]).sum())
        progress(Progress(epoch + 1, settings.epochs, total / len(x), right / len(x)))


def distort(x: Tensor, settings: Settings) -> Tensor:
    """(n, 1, PREPARED, PREPARED) → (n, 1, size, size): each picture as another hand's."""
    bent = functional.grid_sample(x, _bent_grid(len(x), settings), align_corners=False)
    return _soil(_frame(_rethicken(bent), settings), settings)


def _bent_grid(n: int, settings: Settings) -> Tensor:
    """(n, PREPARED, PREPARED, 2): an affine map of each picture plus a smooth warp."""
    angle, slant = _spread(n, settings.turn), _spread(n, settings.slant)
    across, down = torch.exp(_spread(n, settings.stretch)), torch.exp(_spread(n, 0.1))
    cos, sin = angle.cos(), angle.sin()
    room = 1.35  # so that nothing turns or stretches out of the frame
    rows = torch.stack([cos * across, -sin + slant, torch.zeros(n)], dim=1)
    columns = torch.stack([sin, cos * down, torch.zeros(n)], dim=1)
    theta = torch.stack([rows, columns], dim=1) * room
    grid = functional.affine_grid(theta, [n, 1, PREPARED, PREPARED], align_corners=False)
    coarse = torch.randn(n, 2, 4, 4) * settings.bend
    warp = functional.interpolate(coarse, size=PREPARED, mode="bicubic", align_corners=False)
    return grid + warp.permute(0, 2, 3, 1)


def _rethicken(x: Tensor) -> Tensor:
    """Strokes of each picture a little thicker or thinner (about 2 pixels either way)."""
    amount = torch.rand(len(x), 1, 1, 1) * 2 - 1
    thicker = functional.max_pool2d(x, 3, stride=1, padding=1)
    thinner = -functional.max_pool2d(-x, 3, stride=1, padding=1)
    return x + amount.clamp(min=0) * (thicker - x) + (0.8 * -amount).clamp(min=0) * (thinner - x)


def _frame(x: Tensor, settings: Settings) -> Tensor:
    """Fit the ink into (size, size) as `ink.prepare` does, a little off at random."""
    n = len(x)
    inked = x[:, 0] > FAINT
    places = torch.linspace(-1 + 1 / PREPARED, 1 - 1 / PREPARED, PREPARED)
    bounds = []
    for along in (1, 2):  # the columns with ink, then the rows
        seen = inked.any(dim=along)
        low = torch.where(seen, places, 1.0).amin(dim=1) - 1 / PREPARED
        high = torch.where(seen, places, -1.0).amax(dim=1) + 1 / PREPARED
        bounds.append((low, high))
    (left, right), (top, bottom) = bounds
    half = torch.maximum(right - left, bottom - top).clamp(min=0.2) / 2 / (1 - 2 * ink.MARGIN)
    half = half * torch.exp(_spread(n, 0.06))
    middle = [(left + right) / 2, (top + bottom) / 2]
    moved = [centre + 2 * half * _spread(n, settings.shift) for centre in middle]
    zero = torch.zeros(n)
    theta = torch.stack([torch.stack([half, zero, moved[0]], 1), torch.stack([zero, half, moved[1]], 1)], 1)
    grid = functional.affine_grid(theta, [n, 1, settings.size, settings.size], align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def _soil(x: Tensor, settings: Settings) -> Tensor:
    """Blur, contrast and noise, each picture by its own amount."""
    n = len(x)
    blurred = functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    blur = (torch.rand(n, 1, 1, 1) * 1.2 - 0.5).clamp(min=0)
    x = x + blur * (blurred - x)
    x = x.clamp(min=0) ** torch.exp(_spread(n, 0.4))[:, None, None, None]
    return (x + torch.randn_like(x) * settings.noise * torch.rand(n, 1, 1, 1)).clamp(0, 1)


def _spread(n: int, reach: float) -> Tensor:
    """(n,) uniform numbers from -reach to reach."""
    return (torch.rand(n) * 2 - 1) * reach


def to_data_uri(picture: Image.Image, *, compressed: bool = False) -> str:
    """A picture as a PNG data URI; uncompressed, its bytes depend on the pixels alone."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=9 if compressed else 0)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def from_data_uri(uri: str) -> Image.Image:
    """The picture in a data URI of our own making."""
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L")
