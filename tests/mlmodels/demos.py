"""The demo models, each trained once for all tests that ask for it, on the rows that are not held out."""

from functools import cache

from PIL import Image

from mlmodels.datasets import Dataset
from mlmodels.training import own_data, split, train
from mlmodels.training.artifact import Trained


@cache
def data(slug: str) -> Dataset:
    return own_data(slug)


def parts(slug: str) -> tuple[Dataset, Dataset]:
    """The rows to train on, and those held out."""
    whole = split.by_hash(data(slug).rows)
    return data(slug).subset(whole.train), data(slug).subset(whole.held_out)


@cache
def trained(slug: str) -> Trained:
    return train(parts(slug)[0])


def read_digits(pictures: list[Image.Image]) -> list[str]:
    """What the digits model takes each picture for."""
    module = trained("digits").module
    batches = [pictures[at : at + module.max_batch] for at in range(0, len(pictures), module.max_batch)]
    outputs = [output for batch in batches for output in module.predict([{"image": picture} for picture in batch])]
    return [output["label"] for output in outputs]
