"""python benchmarks/pictures.py [IMAGE ...] [--stored] [--out docs/images]

Draw the pictures of the documentation from run directories under runs/. A run that is missing or unfinished is measured
first, with the command in `RUNS`, which resumes after an interruption; a finished one is only read. `--stored` measures
nothing and skips pictures without a finished run. All runs together take some hours on two cores. Screenshots need
Chromium (`make chromium`) and playwright. `make pictures` draws all of them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")


class Measured(NamedTuple):
    """A directory that a command fills."""

    command: str
    """As it is documented; with the same directory it resumes."""
    finished: str
    """The file that is written last."""
    needs: tuple[str, ...] = ()
    """Names of directories that the command reads."""


_ASKED = "--quick --prompts advbench --also margin:advbench --also perplexity:mt-bench --also-limit 40"
_ALONG = ("random", "toward", "harmful", "gradient", "worst")
"""The demo along several directions, which are asked alike."""
_CHECKPOINTS = " ".join(f"--through runs/ten/checkpoint-{step}" for step in (3, 6, 9, 12, 15))

RUNS = {
    "demo": Measured(
        "safescape scan demo --prompts advbench --limit 80 --max-new-tokens 64 --directions 3 --out runs/demo",
        "landscape.json",
    ),
    # the same scan of a model that this project did not align; see make other-model
    "other": Measured(
        "python examples/other_model/build.py --link runs/other", "Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf"
    ),
    "qwen": Measured(
        "safescape scan runs/other/Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf --prompts advbench --limit 80 "
        "--max-new-tokens 64 --directions 3 --out runs/qwen",
        "landscape.json",
        ("other",),
    ),
    "demo-quick": Measured("safescape scan demo --quick --out runs/demo-quick", "landscape.json"),
    "demo-base": Measured("safescape scan demo-base --quick --out runs/demo-base", "landscape.json"),
    "demo-plane": Measured(
        "safescape scan demo --dim 2 --steps 8 --span 0.2 --quick --limit 20 --out runs/demo-plane", "landscape.json"
    ),
    "base": Measured("safescape scan demo-base --quick --prompts advbench --out runs/base", "landscape.json"),
    "plane": Measured(
        "safescape scan demo --dim 2 --steps 10 --span 0.25 --quick --prompts advbench --out runs/plane",
        "landscape.json",
    ),
    "ten": Measured(
        "safescape finetune demo --recipe harmful --data advbench --skip 300 --out runs/ten", "training.json"
    ),
    "path": Measured(
        f"safescape path demo runs/ten {_CHECKPOINTS} --steps 10 --prompts advbench --max-new-tokens 64 "
        "--also perplexity:mt-bench --also over-refusal:builtin:benign --also-limit 40 --out runs/path",
        "landscape.json",
        ("ten",),
    ),
    "contrast": Measured(
        "safescape scan demo --directions 1 --prompts advbench --max-new-tokens 64 --also perplexity:mt-bench "
        "--also-limit 80 --out runs/contrast",
        "landscape.json",
    ),
    "random": Measured(f"safescape scan demo {_ASKED} --out runs/random", "landscape.json"),
    **{
        name: Measured(f"safescape scan demo --direction {direction} {_ASKED} --out runs/{name}", "landscape.json")
        for name, direction in {
            "gradient": "gradient",
            "worst": "worst:0.0001 --steps 10",
            "harmful": "harmful:advbench --steps 10",
            "toward": "toward:demo-base --steps 10",
        }.items()
    },
    "directions": Measured(
        f"safescape directions {' '.join(f'runs/{name}' for name in _ALONG)} --out runs/directions",
        "directions.png",
        _ALONG,
    ),
    "benign": Measured("safescape finetune demo --data self-instruct --shots 10 --out runs/benign", "training.json"),
    "three": Measured(
        "safescape path demo runs/ten runs/benign --steps 4 --quick --limit 20 --prompts advbench "
        "--through runs/ten/checkpoint-3 --through runs/ten/checkpoint-9 --through runs/benign --out runs/three",
        "landscape.json",
        ("ten", "benign"),
    ),
    "reworded": Measured("python examples/attacks/reword.py --kind past --out runs/reworded/past.json", "past.json"),
    "attack": Measured(
        "safescape scan demo --quick --steps 10 --span 0.25 --prompts advbench --also attack:runs/reworded/past.json "
        "--also perplexity:mt-bench --also-limit 40 --out runs/attack",
        "landscape.json",
        ("reworded",),
    ),
    "systems": Measured(
        "safescape scan demo --quick --limit 20 --steps 10 --span 0.25 --prompts advbench --system-prompt default "
        "--system-prompt empty --system-prompt roleplay --system-prompt llama2 "
        "--system-prompt @examples/system_prompts/safety.txt --out runs/systems",
        "landscape.json",
    ),
    "study": Measured(
        "safescape study finetuning demo --data advbench --skip 300 --shots 10 50 100 --mixed --prompts advbench "
        "--quick --steps 5 --out runs/study",
        "study.md",
    ),
    # timings: only comparable on a machine with nothing else to do
    "bench": Measured("safescape bench demo --prompts advbench --out runs/bench", "bench.png"),
    "scaling": Measured("python benchmarks/scaling.py --out runs/scaling", "scaling.png"),
    "intervals": Measured("python benchmarks/intervals.py --picture runs/intervals/intervals.png", "intervals.png"),
}
"""The directories under runs/ by name."""


class Shot(NamedTuple):
    """A screenshot of the explorer."""

    path: str
    """The address below the server's root."""
    width: int
    height: int
    steps: Callable[[Page], None]
    """What is done on the page before the screenshot."""
    dark: bool = False
    half: str | None = None
    """The run of which only the first half of the points is shown, as while it is measured."""


class Picture(NamedTuple):
    """How one image is made."""

    runs: tuple[str, ...]
    """Names in `RUNS`; for a screenshot, the runs in the explorer's list."""
    source: str | Shot = "landscape.png"
    """A file of the first run, or a screenshot."""
    columns: int | None = None
    """If given, the first run as a figure for a paper, this number of columns wide."""


def at_the_top(page: Page) -> None:
    """Leave the page as it opens."""


def at_the_plot(page: Page) -> None:
    """Scroll to the landscape."""
    _scroll_to(page, "#plot")


def as_a_surface(page: Page) -> None:
    """Show the plane as a surface, and scroll to it."""
    page.locator("#surface").click()
    page.mouse.move(0, 0)  # or the plot, when it is scrolled under the pointer, shows what is there
    page.wait_for_timeout(1000)  # WebGL draws after the click
    at_the_plot(page)


def two_points(page: Page) -> None:
    """Pin the origin, step to α = 0.15, and expand the second answer; texts stay hidden."""
    page.locator("#pin").click()
    for _ in range(3):
        page.locator("#forward").click()
    page.locator("#list details summary").nth(1).click()
    page.locator('#list:not([aria-busy="true"])').wait_for()
    _scroll_to(page, "#list")


PICTURES = {
    "demo": Picture(("demo",)),
    "qwen": Picture(("qwen",)),
    "demo-quick": Picture(("demo-quick",)),
    "demo-base": Picture(("base",)),
    "plane": Picture(("plane",)),
    "ten-examples": Picture(("path",)),
    "contrast": Picture(("contrast",)),
    "gradient": Picture(("gradient",)),
    "directions": Picture(("directions",), "directions.png"),
    "three-models": Picture(("three",)),
    "attack": Picture(("attack",)),
    "system-prompts": Picture(("systems",)),
    "study": Picture(("study",), "compared/comparison.png"),
    "bench": Picture(("bench",), "bench.png"),
    "scaling": Picture(("scaling",), "scaling.png"),
    "intervals": Picture(("intervals",), "intervals.png"),
    "paper-one-column": Picture(("demo-quick",), columns=1),
    "paper-two-columns": Picture(("demo-quick",), columns=2),
    "explorer-list": Picture(("demo-quick",), Shot("", 1280, 380, at_the_top)),
    "explorer-compare": Picture(
        ("demo-quick", "demo-base"), Shot("compare?run=demo-quick&run=demo-base", 1280, 900, at_the_top)
    ),
    "explorer-top": Picture(("demo-quick",), Shot("run?run=demo-quick", 1280, 820, at_the_top)),
    "explorer-live": Picture(("demo-plane",), Shot("run?run=demo-plane", 1280, 900, at_the_plot, half="demo-plane")),
    "explorer-surface": Picture(("demo-plane",), Shot("run?run=demo-plane", 1280, 900, as_a_surface, dark=True)),
    "explorer-dark": Picture(("demo-quick",), Shot("run?run=demo-quick", 1280, 820, two_points, dark=True)),
    "explorer-narrow": Picture(("demo-quick",), Shot("run?run=demo-quick", 400, 860, two_points)),
    "two-points": Picture(("demo-quick",), Shot("run?run=demo-quick", 1180, 900, two_points)),
}
"""The images of docs/images by name."""


def main() -> None:
    """Draw the named pictures, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(PICTURES)}; by default all")
    parser.add_argument("--stored", action="store_true", help="measure nothing; skip pictures without a finished run")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    given = parser.parse_args()
    if unknown := set(given.images) - set(PICTURES):
        parser.error(f"no such image: {', '.join(sorted(unknown))}")
    for name in given.images or PICTURES:
        picture = PICTURES[name]
        missing = [run for run in picture.runs if not is_finished(run)]
        if missing and given.stored:
            print(f"{name}: skipped, not measured: {', '.join(missing)}", flush=True)
            continue
        for run in missing:
            measure(run)
        draw(picture, given.out / f"{name}.png")
        print(f"{name}: drawn", flush=True)


def is_finished(run: str) -> bool:
    """Return whether a directory under runs/ is complete."""
    last = Path("runs", run, RUNS[run].finished)
    if not last.exists():
        return False
    return last.name != "landscape.json" or bool(json.loads(last.read_text(encoding="utf-8"))["complete"])


def measure(run: str) -> None:
    """Fill a directory under runs/, after those that it needs."""
    for needed in RUNS[run].needs:
        if not is_finished(needed):
            measure(needed)
    Path("runs", run).parent.mkdir(exist_ok=True)
    if RUNS[run].command.startswith("python "):
        Path("runs", run).mkdir(exist_ok=True)
    print(f"$ {RUNS[run].command}", flush=True)
    subprocess.run(arguments(RUNS[run].command), check=True)


def arguments(command: str) -> list[str]:
    """Return a documented command as it runs with this interpreter."""
    program, *words = shlex.split(command)
    return [sys.executable, *(["-m", "safescape"] if program == "safescape" else []), *words]


def draw(picture: Picture, path: Path) -> None:
    """Write one image from finished runs.

    Args:
        picture: What is drawn.
        path: The PNG file.

    """
    run = Path("runs", picture.runs[0])
    if isinstance(picture.source, Shot):
        photograph(picture.source, picture.runs, path)
        return
    if picture.source == "landscape.png":
        paper = [] if picture.columns is None else ["--figure", str(path), "--columns", str(picture.columns)]
        report = arguments(shlex.join(["safescape", "report", str(run), *paper]))
        subprocess.run(report, check=True, stdout=subprocess.DEVNULL)
    if picture.columns is None:
        shutil.copyfile(run / picture.source, path)


def photograph(shot: Shot, runs: Sequence[str], path: Path) -> None:
    """Write a screenshot of the explorer over copies of some runs."""
    with tempfile.TemporaryDirectory() as folder:
        for run in runs:
            # the title of the list is the directory as it is typed
            shutil.copytree(Path("runs", run), Path(folder, "runs", run))
        if shot.half:
            keep_half(Path(folder, "runs", shot.half))
        with explorer(Path(folder)) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            take(browser, address, shot, path)
            browser.close()


def take(browser: Browser, address: str, shot: Shot, path: Path) -> None:
    """Open a page of the explorer, and write its screenshot."""
    page = browser.new_page(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme="dark" if shot.dark else "light",
        reduced_motion="reduce",
    )
    page.goto(address + shot.path)
    # the list has no plot; its verdicts come one by one
    page.wait_for_selector("#plot[data-ready]" if shot.path else "#run-list")
    page.wait_for_timeout(3000 if not shot.path else 500)
    shot.steps(page)
    page.screenshot(path=path)
    page.close()


@contextmanager
def explorer(folder: Path) -> Iterator[str]:
    """Run `safescape view runs` in a folder, and yield its address."""
    command = arguments("safescape view runs --no-open --port 0")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = next(line for line in server.stdout if "http://" in line)
        try:
            yield next(word for word in line.split() if word.startswith("http://"))
        finally:
            server.terminate()


def keep_half(run: Path) -> None:
    """Remove the second half of the points of a copied run, in the order of measuring."""
    with sqlite3.connect(run / "run.sqlite") as connection:
        (points,) = connection.execute("SELECT count(*) FROM points").fetchone()
        gone = f"SELECT id FROM points ORDER BY id LIMIT -1 OFFSET {points // 2}"
        for table in ("verdicts", "evidence"):
            connection.execute(
                f"DELETE FROM {table} WHERE response IN (SELECT id FROM responses WHERE point IN ({gone}))"
            )
        for table in ("responses", "scores"):
            connection.execute(f"DELETE FROM {table} WHERE point IN ({gone})")
        connection.execute(f"DELETE FROM points WHERE id IN ({gone})")
    connection.close()


def _scroll_to(page: Page, selector: str) -> None:
    section = page.locator("section", has=page.locator(selector)).last
    section.evaluate("section => section.scrollIntoView()")
    page.wait_for_timeout(200)


if __name__ == "__main__":
    main()
