"""python benchmarks/judge_speed.py [--run runs/demo]

Measure the cost of judging relative to generating, on the answers of a finished run with complete verdicts of `keyword`
and `refusal`: the time of both judges on one core, the time of the origin to score the doubtful answers (including
loading the model, which a scan has loaded already), and their share of the generation time. A missing run is scanned.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import torch

import safescape
from safescape.judges import immediate_judge
from safescape.survey import Exchange


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    directory = parser.parse_args().run
    if not (directory / "landscape.json").exists():
        safescape.scan("demo", out=directory, quick=True)
    run = safescape.load_run(directory)
    exchanges = [
        Exchange(run.survey.prompts.prompts[answer.number], answer.answer.response.text)
        for point in run.points
        for answer in run.answers(point.coords, point.line or 0)
    ]
    with sqlite3.connect(f"{(directory / 'run.sqlite').absolute().as_uri()}?mode=ro", uri=True) as connection:
        (generation,) = connection.execute("SELECT sum(seconds) FROM points").fetchone()
        (asked,) = connection.execute("SELECT count(*) FROM evidence").fetchone()
    print(f"{len(exchanges)} answers at {len(run.points)} points, generated in {generation:.0f} s (judging included)")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in ("keyword", "refusal"):
        judge = immediate_judge(name)
        judge.judge(exchanges[:10])
        start = time.process_time()
        judge.judge(exchanges)
        seconds = time.process_time() - start
        rate = len(exchanges) / seconds
        print(f"{name}: {seconds:.2f} s on one core, {rate:,.0f} answers/s, {100 * seconds / generation:.2f} % of that")
    torch.set_num_threads(threads)
    weighing(directory, asked, generation)


def weighing(directory: Path, asked: int, generation: float) -> None:
    """Print the time to score the doubtful answers, in a copy of the run without these scores."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(directory, Path(place) / "run"))
        with sqlite3.connect(copy / "run.sqlite") as connection:
            connection.execute("DELETE FROM evidence")
            connection.execute("DELETE FROM calibration")
        times = [time.monotonic()]
        safescape.judge_run(copy, ["refusal"], on_progress=lambda _: times.append(time.monotonic()))
        seconds = times[-1] - times[0]
        print(
            f"the origin read {asked} answers in doubt in {seconds:.0f} s, loading the model and calibrating included: "
            f"{100 * seconds / generation:.1f} % of that"
        )


if __name__ == "__main__":
    main()
