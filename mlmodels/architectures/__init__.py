"""The modules that a version's weights are loaded into, and how items become tensors.

A version names its architecture and parameters in the manifest; the weights are data.
To add one: write a subclass of `Architecture` in a file here, and one line in REGISTRY.
"""

from __future__ import annotations

from mlmodels.architectures.base import Architecture, BadItem, Item, Output, decode_classes
from mlmodels.architectures.images import ImageCNN, prepare_photo
from mlmodels.architectures.table_blend import TableBlend
from mlmodels.architectures.table_mlp import TableMLP

__all__ = (
    "REGISTRY",
    "Architecture",
    "BadItem",
    "ImageCNN",
    "Item",
    "Output",
    "TableBlend",
    "TableMLP",
    "decode_classes",
    "prepare_photo",
)

REGISTRY: dict[str, type[Architecture]] = {
    "table-blend": TableBlend,
    "table-mlp": TableMLP,
    "image-cnn": ImageCNN,
}
