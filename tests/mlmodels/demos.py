"""The demo models, each trained once for all tests that ask for it."""

from functools import cache

from PIL import Image

from mlmodels.training import train
from mlmodels.training.artifact import Trained


@cache
def trained(slug: str) -> Trained:
    return train(slug)


def read_digits(pictures: list[Image.Image]) -> list[str]:
    """What the digits model takes each picture for."""
    module = trained("digits").module
    batches = [pictures[at : at + module.max_batch] for at in range(0, len(pictures), module.max_batch)]
    outputs = [output for batch in batches for output in module.predict([{"image": picture} for picture in batch])]
    return [output["label"] for output in outputs]
