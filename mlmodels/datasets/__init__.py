"""Data to learn from: rows that fit a signature, their targets, and a schema that says what both are.

Pure standard library: imported by the site, its commands and the training child alike.
"""

from mlmodels.datasets.reading import read_table
from mlmodels.datasets.rows import (
    SHORT,
    BadData,
    Dataset,
    Schema,
    labelled_digest,
    read_csv,
    row_hash,
    short_hash,
    write_csv,
)

__all__ = (
    "SHORT", "BadData", "Dataset", "Schema", "labelled_digest", "read_csv", "read_table", "row_hash", "short_hash",
    "write_csv",
)  # fmt: skip
