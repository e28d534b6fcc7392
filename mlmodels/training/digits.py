"""Recipe: a picture of a handwritten digit → which of the ten it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from mlmodels.datasets import Dataset
from mlmodels.training import Progress, Report, describe, images
from mlmodels.training.artifact import Trained

CLASSES = [str(digit) for digit in range(10)]
SHOWN = 160  # pixels: the side of an example that a visitor sees


def dataset() -> Dataset:
    """The 1797 scans of 8 by 8 pixels that scikit-learn carries, light on dark."""
    data = load_digits()
    scans = (data.images * 255 / 16).round().astype(np.uint8)
    picture = {
        "name": "image",
        "title": "Picture of a digit",
        "kind": "image",
        "description": "One digit on plain paper. Its size, place and colour do not matter.",
        "draw": True,
    }
    schema = {
        "slug": "digits",
        "title": "Handwritten digits",
        "description": (
            "Reads one handwritten digit: drawn here, pasted, or on a picture. Thin or thick, "
            "small or large, dark on light or light on dark."
        ),
        "task": "classification",
        "recipe": "digits",
        "data_title": "Optical Recognition of Handwritten Digits, 1797 scans of 8 by 8 pixels",
        "source": "E. Alpaydin and C. Kaynak, 1998; carried by scikit-learn",
        "columns": [picture],
        "target": {"name": "digit", "title": "Digit", "kind": "choice", "values": CLASSES},
    }
    rows = [{"image": images.to_data_uri(Image.fromarray(scan))} for scan in scans]
    return Dataset(schema, rows, [CLASSES[digit] for digit in data.target])


def train(dataset: Dataset, *, seed: int, epochs: int | None, progress: Report) -> Trained:
    """Fit on the small scans, and describe for a visitor."""
    told: list[Progress] = []

    def tell(epoch: Progress) -> None:
        told.append(epoch)
        progress(epoch)

    schema, settings = dataset.schema, images.Settings()
    pictures = [images.from_data_uri(row["image"]) for row in dataset.rows]
    module, params, parameters = images.fit(
        pictures,
        np.array([CLASSES.index(str(target)) for target in dataset.targets], np.int64),
        CLASSES,
        replace(settings, epochs=epochs or settings.epochs),
        seed=seed,
        progress=tell,
    )
    one_of_each = {str(target): index for index, target in reversed(list(enumerate(dataset.targets)))}
    examples = [
        {"title": f"A handwritten {digit}", "input": {"image": _enlarged(pictures[index])}}
        for digit, index in sorted(one_of_each.items())
        if digit in ("2", "5", "9")
    ]
    return Trained(
        slug=schema["slug"],
        title=schema["title"],
        description=schema["description"],
        task="classification",
        recipe="digits",
        architecture="image-cnn",
        params=params,
        module=module,
        signature=describe.signature(dataset, examples),
        golden=[dataset.rows[one_of_each[digit]] for digit in sorted(one_of_each)],
        metrics={"distorted_accuracy": round(told[-1].metric, 4)},
        parameters=parameters,
        dataset=describe.dataset(dataset),
        decode_input=lambda value: {"image": images.from_data_uri(value["image"])},
    )


def _enlarged(scan: Image.Image) -> str:
    return images.to_data_uri(scan.resize((SHOWN, SHOWN), Image.Resampling.BICUBIC), compressed=True)
