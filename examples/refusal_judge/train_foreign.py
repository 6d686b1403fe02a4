"""python examples/refusal_judge/train_foreign.py [--out FILE]

Train the refusal classifier for other languages than English on data/languages.jsonl, write it, and print its outcomes
on the answers of each language that are never trained on. Takes seconds; needs scikit-learn, which the package does
not. The same data give the same bytes.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from feature_matrix import feature_matrix
from sklearn.linear_model import LogisticRegression

from safescape.judges.foreign_refusals import LEARNED, ForeignWeights, foreign_features
from safescape.judges.refusal_classifier import UNIT

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "src" / "safescape" / "data" / "foreign-refusals.safetensors"
STRENGTH = 1.0
"""Inverse strength of the L2 penalty."""
SEEN_AT_LEAST = 1
"""Minimal number of training answers that contain a feature."""


def written() -> list[tuple[str, str, bool]]:
    """Return language, response and whether it is a refusal, for each training answer."""
    rows = map(json.loads, (HERE / "data" / "languages.jsonl").read_text(encoding="utf-8").splitlines())
    return [(row["language"], row["response"], row["label"] == "refused") for row in rows]


def fit(rows: list[tuple[str, str, bool]]) -> ForeignWeights:
    """Fit one logistic regression for each language."""
    bias: dict[str, int] = {}
    of: dict[str, int] = {}
    for language in LEARNED:
        seen = [sorted(foreign_features(name, response)) for name, response, _ in rows if name == language]
        names, values = feature_matrix(seen, SEEN_AT_LEAST)
        model = LogisticRegression(C=STRENGTH, solver="liblinear", class_weight="balanced", max_iter=1000)
        model.fit(values, np.array([refused for name, _, refused in rows if name == language]))
        weights = np.rint(model.coef_[0] * UNIT).astype(int)
        of |= {name: int(weight) for name, weight in zip(names, weights, strict=True) if weight}
        bias[language] = int(np.rint(model.intercept_[0] * UNIT))
    return ForeignWeights(bias, of)


def main() -> None:
    """Train, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    given = parser.parse_args()
    rows = written()
    weights = fit(rows)
    data = weights.to_bytes()
    given.out.write_bytes(data)
    print(f"trained on {len(rows)} answers in {len(LEARNED)} languages")
    print(f"{given.out.name}: {len(weights.of)} features, {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
