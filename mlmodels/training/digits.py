"""Recipe: a picture of a handwritten digit → which of the ten it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from mlmodels.training import Report, describe, images, split
from mlmodels.training.artifact import Trained

CLASSES = [str(digit) for digit in range(10)]
SHOWN = 160  # pixels: the side of an example that a visitor sees


def train(*, seed: int, epochs: int | None, progress: Report) -> Trained:
    """Fit on the small scans, judge on those held out, and describe for a visitor."""
    data = load_digits()
    scans = (data.images * 255 / 16).round().astype(np.uint8)  # (1797, 8, 8), light on dark
    pictures = [Image.fromarray(scan) for scan in scans]
    parts = split.by_hash([{"image": scan.tolist()} for scan in scans])
    settings = images.Settings()
    settings = replace(settings, epochs=epochs or settings.epochs)
    labels = data.target.astype(np.int64)
    module, params, parameters = images.fit(
        [pictures[index] for index in parts.train],
        labels[parts.train],
        CLASSES,
        settings,
        seed=seed,
        progress=progress,
    )
    held = [pictures[index] for index in parts.held_out]
    one_of_each = {int(labels[index]): pictures[index] for index in reversed(parts.held_out)}
    return Trained(
        slug="digits",
        title="Handwritten digits",
        description=(
            "Reads one handwritten digit: drawn here, pasted, or on a picture. Thin or thick, "
            "small or large, dark on light or light on dark."
        ),
        task="classification",
        architecture="image-cnn",
        params=params,
        module=module,
        signature=_signature(one_of_each),
        golden=[{"image": images.to_data_uri(one_of_each[digit])} for digit in sorted(one_of_each)],
        metrics=images.judge(module, held, labels[parts.held_out]),
        parameters=parameters,
        dataset=describe.dataset(
            "digits",
            "Optical Recognition of Handwritten Digits, 1797 scans of 8 by 8 pixels",
            "E. Alpaydin and C. Kaynak, 1998; carried by scikit-learn",
            parts,
            labels.tolist(),
        ),
        decode_input=lambda value: {"image": images.from_data_uri(value["image"])},
    )


def _signature(one_of_each: dict[int, Image.Image]) -> dict[str, Any]:
    picture = {
        "type": "string",
        "format": "image",
        "contentMediaType": "image/png",
        "title": "Picture of a digit",
        "description": "One digit on plain paper. Its size, place and colour do not matter.",
        "x-draw": True,
    }
    examples = [
        {
            "title": f"A handwritten {digit}",
            "input": {"image": images.to_data_uri(_enlarged(one_of_each[digit]))},
        }
        for digit in (2, 5, 9)
    ]
    return {
        "input": describe.table_input({"image": picture}, examples),
        "output": describe.class_output("Digit", CLASSES),
        "tensors": {
            "inputs": [describe.picture_tensor("image")],
            "outputs": describe.class_tensors(len(CLASSES)),
        },
    }


def _enlarged(scan: Image.Image) -> Image.Image:
    return scan.resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)
