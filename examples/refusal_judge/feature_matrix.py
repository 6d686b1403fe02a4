"""The features of training answers as a sparse matrix, for `train.py` and `train_foreign.py`."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix


class FeatureMatrix(NamedTuple):
    """Which answers have which features."""

    names: list[str]
    """The features, sorted."""
    values: csr_matrix
    """Shape (answers, features): 1.0 where the answer has the feature."""


def feature_matrix(seen: Sequence[Sequence[str]], at_least: int) -> FeatureMatrix:
    """Return the matrix of answers' features, given those of each answer, without features of fewer answers."""
    counts = Counter(name for names in seen for name in names)
    names = sorted(name for name, count in counts.items() if count >= at_least)
    column = {name: number for number, name in enumerate(names)}
    columns = [[column[name] for name in given if name in column] for given in seen]
    ends = np.cumsum([0, *map(len, columns)])
    flat = np.array([number for row in columns for number in row])
    return FeatureMatrix(names, csr_matrix((np.ones(len(flat)), flat, ends), shape=(len(seen), len(names))))
