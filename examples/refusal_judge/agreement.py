"""python examples/refusal_judge/agreement.py [--out FILE]

Measure the agreement of the refusal judge with people, and write the agreement file that the package ships. Each model
of XSTest's labelled answers is left out in turn: the classifier is trained on the others and on this example's data,
and the judge reads the answers of the one that was left out. The file names the shipped weights, so run it after
train.py. Takes a few minutes on one core; needs scikit-learn, the demo model, and the public set `xstest-completions`.
"""

import argparse
from pathlib import Path

import train

from safescape.judges import RefusalJudge
from safescape.judges.refusal_classifier import RefusalClassifier
from safescape.landscape import Origin, judge_error_of
from safescape.survey import REFUSAL, Label, LabelledAnswer

SHIPPED = train.SHIPPED.with_name("refusal-agreement.json")


def left_out() -> list[LabelledAnswer]:
    """Return the judge's outcomes on the answers of each model, left out of its training."""
    found = []
    for model in train.MODELS:
        others = [row for other in train.MODELS if other != model for row in train.full(train.of_model(other))]
        judge = RefusalJudge()
        judge._classifier = RefusalClassifier(train.fit(train.own() + others))
        rows = train.of_model(model)
        verdicts = judge.judge([row.exchange for row in rows])
        found += [
            LabelledAnswer(Label(row.label), verdict.outcome) for row, verdict in zip(rows, verdicts, strict=True)
        ]
    return found


def main() -> None:
    """Write the file and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED, help="file to write")
    out = parser.parse_args().out
    error = judge_error_of(
        REFUSAL,
        RefusalJudge().made_of,
        left_out(),
        origin=Origin.SHIPPED,
        about=f"answers of {' and '.join(train.MODELS)} to XSTest, each model left out of the training",
        given="xstest-completions",
    )
    out.write_text(error.to_json(), encoding="utf-8")
    for name in ("sensitivity", "specificity", "kappa"):
        figure = getattr(error, name)
        print(f"{name}: {figure.value} ({figure.low} to {figure.high})")
    print(f"{error.n} labels, {error.unscored} left unscored: {out}")


if __name__ == "__main__":
    main()
