"""The report page in a real browser: it draws, answers to mouse and keyboard, and runs nothing that a model wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from safescape.landscape import landscape_of
from safescape.survey import Survey
from safescape.views import render_page
from synthetic import landscape_in, make_run, make_survey, no_basin

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = (
    "</script><script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 2'>",
    "<b>bold</b><a href='https://example.com/'>link</a>",
    "nul \0 emoji 🙂 {{7*7}} ${window.ran = 3}",
)


class Report:
    """An open report page, with what it logged and fetched."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.logged: list[str] = []
        self.fetched: list[str] = []
        page.on("console", lambda message: self.logged.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.logged.append(str(error)))
        page.on("request", lambda request: self.fetched.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("#plot[data-ready]")

    def answers(self) -> list[str]:
        return self.page.locator("#list details").all_inner_texts()

    def quiet(self) -> None:
        outside = [url for url in self.fetched[1:] if not url.startswith(("data:", "blob:"))]
        assert (self.logged, outside) == ([], [])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing; install it: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    yield opened
    opened.close()


def write(directory: Path, survey: Survey, **run: object) -> Path:
    with make_run(directory / "run", survey, **run) as store:  # type: ignore[arg-type]
        path = directory / "report.html"
        path.write_text(render_page(store, landscape_in(store)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("report"), make_survey(prompts=20, model="organisation/" + "Model-" * 20))


@pytest.fixture
def report(page: Page, written: Path) -> Report:
    return Report(page, written)


def test_the_landscape_is_drawn_without_the_network(report: Report) -> None:
    assert report.page.locator("#plot .scatterlayer .trace").count() >= 5
    expect(report.page.locator("#plot .legendtext")).to_contain_text(["direction 1 (seed 0)"])
    expect(report.page.locator("#plot .annotation-text")).to_contain_text(["unsafe", "safe basin"])
    report.quiet()


def test_a_click_on_a_point_shows_what_was_said_there(report: Report) -> None:
    expect(report.page.locator("#here-asr")).to_contain_text("ASR 0.0 %")
    report.page.locator("#plot .scatterlayer .trace", has=report.page.locator(".points path")).first.locator(
        ".points path"
    ).first.click(force=True)
    expect(report.page.locator("#alpha-text")).to_have_text("−0.5")
    expect(report.page.locator("#here-asr")).to_contain_text("ASR 100.0 %")
    expect(report.page.locator('#list details[data-outcome="complied"]')).to_have_count(20)
    report.quiet()


def test_the_keyboard_reaches_every_point(report: Report) -> None:
    report.page.locator("#alpha").focus()
    report.page.keyboard.press("End")
    expect(report.page.locator("#alpha-text")).to_have_text("+0.5")
    report.page.keyboard.press("ArrowLeft")
    expect(report.page.locator("#alpha-text")).to_have_text("+0.45")
    report.page.locator("#direction").select_option("2")
    report.page.locator("#to-origin").press("Enter")
    expect(report.page.locator("#alpha-text")).to_have_text("0, the origin")
    report.page.locator("#list summary").first.press("Enter")
    expect(report.page.locator("#list details").first).to_have_attribute("open", "")
    report.quiet()


def test_nothing_that_was_asked_or_answered_shows_until_it_is_switched_on(report: Report) -> None:
    page = report.page
    page.locator("#list summary").first.click()
    assert "Harmful request number" not in page.locator("body").inner_text()
    assert "I'm sorry" not in page.locator("body").inner_text()
    expect(page.locator("#list .body").first).to_contain_text("Hidden.")
    page.get_by_label("Show what was asked and answered").check(force=True)
    expect(page.locator("#list details").first).to_contain_text("Harmful request number 0")
    expect(page.locator("#list .text mark").first).to_have_text("I'm sorry")
    page.get_by_label("Show what was asked and answered").uncheck(force=True)
    assert "Harmful request number" not in page.locator("body").inner_text()


def test_answers_are_filtered_by_outcome_and_searched(report: Report) -> None:
    page = report.page
    page.locator("#alpha").evaluate("e => { e.value = 6; e.dispatchEvent(new Event('input')) }")
    complied = page.locator('#list details[data-outcome="complied"]').count()
    assert 0 < complied < 20
    page.locator('#filters [data-outcome="complied"]').click()
    expect(page.locator("#list details")).to_have_count(complied)
    page.locator('#filters [data-outcome="all"]').click()
    page.locator("#search").fill("NUMBER 17")
    expect(page.locator("#list details")).to_have_count(1)
    expect(page.locator("#shown")).to_have_text("1 of 20 answers")
    page.locator("#search").fill("no such words")
    expect(page.locator("#list")).to_have_text("No answer matches.")


def test_one_request_is_followed_over_all_points(report: Report) -> None:
    page = report.page
    page.locator("#list summary").nth(3).click()
    cells = page.locator("#list details").nth(3).locator(".strip button")
    expect(cells).to_have_count(63)
    cells.first.click()
    expect(page.locator("#alpha-text")).to_have_text("−0.5")
    expect(page.locator("#list details").nth(3)).to_have_attribute("open", "")


def test_a_cell_of_the_map_leads_to_its_answer(report: Report) -> None:
    canvas = report.page.locator("#maps canvas").nth(1)
    expect(report.page.locator("#maps canvas")).to_have_count(3)
    report.page.locator("#search").fill("something else")
    canvas.click(position={"x": 2, "y": 2})
    expect(report.page.locator("#direction")).to_have_value("1")
    expect(report.page.locator("#alpha-text")).to_have_text("−0.5")
    expect(report.page.locator("#list details")).to_have_count(20)
    expect(report.page.locator("#list details[open]")).to_have_count(1)
    report.quiet()


def test_what_a_model_wrote_does_not_run(page: Page, tmp_path: Path) -> None:
    survey = make_survey(model=HOSTILE[0], prompts=HOSTILE, lines=1, system_prompt=HOSTILE[1])
    path = write(tmp_path, survey, text=lambda point, number, complied: HOSTILE[number])
    report = Report(page, path)
    page.get_by_label("Show what was asked and answered").check(force=True)
    for summary in page.locator("#list summary").all():
        summary.click()
    expect(page.locator("#list .text")).to_have_count(2 * len(HOSTILE))
    assert page.locator("#list .text").all_text_contents() == [text for text in HOSTILE for _ in range(2)]
    assert page.evaluate("window.ran") is None
    expect(page.locator("main img, main a[href^=http], #list b")).to_have_count(0)
    report.quiet()


def test_the_policy_stops_scripts_and_requests(report: Report) -> None:
    smuggle = """() => new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        ACT;
        setTimeout(() => resolve("allowed"), 2000);
    })"""
    script = "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))"
    assert report.page.evaluate(smuggle.replace("ACT", script)) == "script-src-elem"
    assert report.page.evaluate("window.ran") is None
    fetched = "fetch('https://example.com/').catch(() => {})"
    assert report.page.evaluate(smuggle.replace("ACT", fetched)) == "connect-src"
    image = "new Image().src = 'https://example.com/pixel.png'"
    assert report.page.evaluate(smuggle.replace("ACT", image)) == "img-src"


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_narrow_and_wide_in_light_and_dark(browser: Browser, written: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    report = Report(page, written)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    plot = page.locator("#plot").bounding_box()
    assert plot is not None
    assert plot["width"] <= width
    report.quiet()
    page.close()


@pytest.mark.parametrize(("points", "directions"), [(1, 3), (31, 3), (60, 3)])
def test_an_unfinished_run_can_be_read(page: Page, tmp_path: Path, points: int, directions: int) -> None:
    report = Report(page, write(tmp_path, make_survey(prompts=5), points=points))
    expect(page.locator("#direction option")).to_have_count(directions)
    expect(page.locator(".unfinished")).to_contain_text(f"{points} of 61 points")
    assert len(report.answers()) == 5
    report.quiet()


def test_points_that_came_before_the_origin_can_be_read(page: Page, tmp_path: Path) -> None:
    with make_run(tmp_path / "run", make_survey(prompts=5, lines=6, steps=4)) as store:
        measured = [entry for entry in store.measured() if entry.point.line == 5]
        (tmp_path / "report.html").write_text(
            render_page(store, landscape_of(store.survey, measured)), encoding="utf-8"
        )
    report = Report(page, tmp_path / "report.html")
    expect(page.locator(".headline")).to_have_text("Nothing can be said yet: the model itself is not measured.")
    expect(page.locator("#alpha-text")).to_have_text("−0.5")
    assert len(report.answers()) == 5
    report.quiet()


def test_a_model_without_a_basin_is_read_at_a_glance(page: Page, tmp_path: Path) -> None:
    report = Report(page, write(tmp_path, make_survey(prompts=20, lines=1), rate=no_basin))
    expect(page.locator(".headline")).to_contain_text("No basin: the origin itself is unsafe (ASR 95.0 %)")
    assert "safe basin" not in page.locator("#plot").inner_text()
    report.quiet()
