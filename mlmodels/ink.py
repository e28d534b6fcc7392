"""From a picture of something written to its bare ink: same size, place and thickness.

A person draws with a thin or a fat pen, small, in a corner, light on dark, or uploads a
photograph of paper; a network that has learnt from clean scans has to see one thing.
Only numpy and Pillow, nothing random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np  # noqa: TID253 - runs only where models run
from PIL import Image, ImageFilter

Array = np.ndarray[Any, np.dtype[Any]]  # of 32-bit floats unless said otherwise

LOOK = 64  # pixels: the longer side at which background and ink are told apart
WORK = 64  # pixels: the longer side of the ink when its thickness is measured and evened
PAD = 16  # pixels around it
LONGEST = 1024  # pixels: more of them are of no use
LEAST_CONTRAST = 0.06  # of the range from black to white; less is a blank sheet
NOISE_LEVELS = 4.5  # standard deviations of the paper's noise; less is noise, not ink
FAINT = 0.35  # of the full ink: less does not count when looking for the edge of the ink
STROKE = 12.0  # pixels of WORK: the wanted thickness of a stroke
SPECK = 0.06  # a separate blot smaller than this share of the largest is dirt
SMOOTH = 2.0  # pixels of WORK: standard deviation of the last blur
MARGIN = 1 / 16  # of the finished picture, on each side


class NoInk(ValueError):
    """There is nothing on the picture."""


@dataclass(frozen=True)
class Sheet:
    """What was found out about a picture at LOOK resolution."""

    paper: Array  # (h, w) brightness that the paper would have without ink
    sign: float  # 1 for dark ink, -1 for light ink
    strength: float  # difference of brightness between paper and full ink
    floor: float  # share of the strength that is only noise
    kept: Array  # (h, w) 1 on ink and close around it, 0 on paper and dirt
    box: tuple[int, int, int, int]  # of the ink: left, top, right, bottom


def prepare(picture: Image.Image, size: int) -> Array:
    """The ink of a picture as a (size, size) array from 0 (paper) to 1 (ink).

    The ink fills all but MARGIN, is centred, keeps its proportions, and its strokes
    have about the same thickness. Raises NoInk for a picture with nothing on it.
    """
    grey = picture.convert("L")
    if max(grey.size) > LONGEST:
        grey = grey.reduce(-(-max(grey.size) // LONGEST))
    sheet = _look(grey)
    return _fit(_even(_cut(grey, sheet)), size)


def _look(grey: Image.Image) -> Sheet:
    """Tell ink from paper, whichever is the darker, and find where the ink is."""
    scale = LOOK / max(grey.size)
    shape = (max(8, round(grey.width * scale)), max(8, round(grey.height * scale)))
    look = _array(grey.resize(shape, Image.Resampling.BICUBIC))
    level = float(np.median(_rim(look)))
    sign = 1.0 if level - _extreme(look, 1) > _extreme(look, -1) - level else -1.0
    paper = np.full_like(look, level)
    if max(grey.size) >= LOOK:  # a tiny scan has no uneven light, only digits
        paper = _uneven_paper(look, paper, sign)
    ink = sign * (paper - look)
    strength = -_extreme(-ink, 1)
    quiet = ink[ink < FAINT * strength]
    noise = 1.4826 * float(np.median(np.abs(quiet))) if quiet.size else 0.0
    if strength < max(LEAST_CONTRAST, NOISE_LEVELS * noise):
        raise NoInk("The picture is blank: there is nothing drawn on it.")
    kept = _without_specks(ink > max(FAINT * strength, NOISE_LEVELS * noise * 0.8))
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    floor = min(0.4, 3 * noise / strength)
    return Sheet(paper, sign, strength, floor, _widened(kept.astype(np.float32), 5), box)


def _rim(look: Array) -> Array:
    """The outermost pixels of a picture, where there seldom is ink."""
    edge = LOOK // 24
    return np.concatenate([look[:edge].ravel(), look[-edge:].ravel(), look[:, :edge].ravel(), look[:, -edge:].ravel()])


def _extreme(look: Array, side: int) -> float:
    """The mean of the few darkest (side 1) or brightest (side -1) pixels."""
    few = max(8, look.size // 256)
    return side * float(np.partition((side * look).ravel(), few)[:few].mean())


def _uneven_paper(look: Array, paper: Array, sign: float) -> Array:
    """The brightness of the paper as a smooth surface: light falls unevenly on a photo."""
    rows, columns = np.mgrid[-1 : 1 : look.shape[0] * 1j, -1 : 1 : look.shape[1] * 1j]
    terms = [np.ones_like(rows), rows, columns, rows * columns, rows**2, columns**2]
    basis = np.stack([term.ravel() for term in terms], axis=1)
    bright = look.ravel().astype(np.float64)
    surface = paper.ravel().astype(np.float64)
    for _ in range(4):
        away = np.abs(bright - surface)
        strength = -_extreme(-(sign * (surface - bright)), 1)
        on_paper = away <= max(0.02, 0.3 * strength)
        if on_paper.mean() < 0.3:
            return paper
        weights = basis[on_paper]
        fit = np.linalg.solve(weights.T @ weights + 1e-3 * np.eye(6), weights.T @ bright[on_paper])
        surface = basis @ fit
    return surface.reshape(look.shape).astype(np.float32)


def _without_specks(mask: Array) -> Array:
    """The mask without separate blots that are small beside the largest one."""
    near = _widened(mask.astype(np.float32), 1) > 0  # a broken hairline is one stroke
    labels = _blots(near)
    sizes = np.bincount(labels.ravel(), weights=mask.ravel())
    sizes[0] = 0
    large: Array = (sizes >= SPECK * sizes.max())[labels]
    return mask & large


def _blots(mask: Array) -> Array:
    """Each connected region of a mask gets its own number above 0.

    Row by row: a run of pixels joins every run that it touches in the row above.
    """
    edges = np.diff(mask.astype(np.int8), axis=1, prepend=0, append=0)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    runs = list(zip(rows.tolist(), starts.tolist(), stops.tolist(), strict=True))
    parent = list(range(len(runs)))

    def root(run: int) -> int:
        while parent[run] != run:
            run = parent[run]
        return run

    above = 0  # the first run that may still touch the current one
    for this, (row, start, stop) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] < start):
            above += 1
        other = above
        while runs[other][0] == row - 1 and runs[other][1] <= stop:
            parent[root(other)] = root(this)
            other += 1
    labels = np.zeros(mask.shape, np.int64)
    for run, (row, start, stop) in enumerate(runs):
        labels[row, start:stop] = root(run) + 1
    return labels


def _cut(grey: Image.Image, sheet: Sheet) -> Array:
    """The ink alone, 0 to 1, its longer side WORK pixels long, with PAD around it."""
    left, top, right, bottom = sheet.box
    longer = max(right - left, bottom - top)
    around = longer * PAD / WORK
    height, width = sheet.paper.shape
    # A region may reach over the edge of the picture; what is outside is paper.
    region = (
        max(0.0, left - around), max(0.0, top - around),
        min(float(width), right + around), min(float(height), bottom + around),
    )  # fmt: skip
    zoom = WORK / longer
    shape = (
        max(1, round((region[2] - region[0]) * zoom)),
        max(1, round((region[3] - region[1]) * zoom)),
    )
    across, down = grey.width / width, grey.height / height
    fine = (region[0] * across, region[1] * down, region[2] * across, region[3] * down)
    smooth = Image.Resampling.BICUBIC
    bright = _array(grey.resize(shape, smooth, box=fine))
    paper = _resized(sheet.paper, shape, region)
    kept = _resized(sheet.kept, shape, region)
    ink = sheet.sign * (paper - bright) * kept / sheet.strength
    dense = ink[ink > FAINT]
    full = max(float(np.percentile(dense, 75)) if dense.size else 1.0, 0.5)
    return np.pad(np.clip((ink / full - sheet.floor) / (0.95 - sheet.floor), 0, 1), PAD)


def _even(ink: Array) -> Array:
    """Strokes made thicker or thinner until they are about STROKE pixels thick."""
    for _ in range(12):
        thickness = _thickness(ink)
        if thickness < STROKE - 1:
            ink = _widened(ink, 1)
        elif thickness > STROKE * 1.35:
            ink = 1 - _widened(1 - ink, 1)
        else:
            break
    return ink


def _thickness(ink: Array) -> float:
    """Mean thickness of the strokes: a long stroke has two edges along its area."""
    down, across = np.gradient(ink)
    edges = float(np.hypot(down, across).sum())
    return 2 * float(ink.sum()) / max(edges, 1e-6)


def _widened(ink: Array, steps: int) -> Array:
    """Grey dilation by an octagon, one pixel on every side for each step."""
    for step in range(steps):
        if step % 2 == 0:
            p = np.pad(ink, 1, mode="edge")
            sides = (p[:-2, 1:-1], p[2:, 1:-1], p[1:-1, :-2], p[1:-1, 2:], p[1:-1, 1:-1])
            ink = np.maximum.reduce(sides)
        else:
            p = np.pad(ink, 1, mode="edge")
            p = np.maximum.reduce((p[:-2], p[1:-1], p[2:]))
            ink = np.maximum.reduce((p[:, :-2], p[:, 1:-1], p[:, 2:]))
    return ink


def _fit(ink: Array, size: int) -> Array:
    """The ink scaled into (size, size) and centred, smoothed as a coarse scan is."""
    mask = ink > FAINT
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise NoInk("The picture is blank: there is nothing drawn on it.")
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    half = side / (1 - 2 * MARGIN) / 2
    centre = (columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2
    beyond = int(half) + 1
    region = tuple(at + beyond + end for end in (-half, half) for at in centre)
    levels = np.pad((ink * 255).round().astype(np.uint8), beyond)
    blurred = Image.fromarray(levels).filter(ImageFilter.GaussianBlur(SMOOTH))
    return _array(blurred.resize((size, size), Image.Resampling.BILINEAR, box=region))


def _array(grey: Image.Image) -> Array:
    return np.asarray(grey, np.float32) / 255


def _resized(array: Array, shape: tuple[int, int], region: tuple[float, float, float, float]) -> Array:
    picture = Image.fromarray(array)
    return np.asarray(picture.resize(shape, Image.Resampling.BILINEAR, box=region), np.float32)
