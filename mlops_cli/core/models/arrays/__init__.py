"""A way round pandas and scikit-learn's validation, for serving; see path.py."""

from mlops_cli.core.models.arrays.path import ArrayPath, array_path, as_table
from mlops_cli.core.models.arrays.sources import NoArrayPath

__all__ = ["ArrayPath", "NoArrayPath", "array_path", "as_table"]
