"""The page in a real browser: offline, without an error or a request, at every width and in both modes."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))
import synthetic_study as synthetic  # pyright: ignore[reportMissingImports]

from pipeline.report import page as report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
READY = "document.documentElement.dataset.ready === 'yes'"
# symbols of measured points of one family, by the label a screen reader gets
DOTS = "document.querySelectorAll('#chart-compute .mark-symbol path[aria-label*=\"family: {}\"]').length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    rows = synthetic.rows()
    report.write(folder / "full.html", rows, synthetic.analysis(), synthetic.study())
    for count in range(3):
        report.write(folder / f"{count}.html", rows[:count], {}, {"name": "small"})
    return folder


@pytest.fixture
def visit(browser: Any, files: Path) -> Iterator[Any]:
    """Opens a page; at the end of the test there must have been no error and no request."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def opened(name: str = "full", width: int = 1280, scheme: str = "light", hash_: str = "") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, accept_downloads=True
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("console", lambda m: troubles.append(m.text) if m.type in ("error", "warning") else None)
        local = ("file:", "data:", "blob:")
        tab.on("request", lambda r: None if r.url.startswith(local) else troubles.append(r.url))
        tab.goto((files / f"{name}.html").as_uri() + hash_)
        tab.wait_for_function(READY)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def test_filter_acts_on_charts_and_table(visit: Any) -> None:
    tab = visit()
    made = synthetic.rows()
    assert tab.get_by_role("status").inner_text() == f"{len(made)} trials"
    assert tab.evaluate(DOTS.format("ViT")) > 10
    tab.get_by_role("checkbox", name="ViT").uncheck()
    tab.wait_for_function(DOTS.format("ViT") + " === 0")
    assert tab.evaluate(DOTS.format("ResNet")) > 10
    kept = sum(r["family"] != "vit" for r in made)
    assert tab.get_by_role("status").inner_text() == f"{kept} of {len(made)} trials"
    tab.get_by_role("checkbox", name="ViT").focus()
    tab.keyboard.press("Space")
    tab.wait_for_function(DOTS.format("ViT") + " > 10")


def test_crossing_needs_both_of_its_families(visit: Any) -> None:
    tab = visit()
    label = tab.locator("#chart-compute").get_by_text("ViT × ResNet")
    assert label.count() == 1
    tab.get_by_role("checkbox", name="ResNet").uncheck()
    tab.wait_for_function(DOTS.format("ResNet") + " === 0")
    assert label.count() == 0


def test_labels_of_marks_say_what_the_ledger_says(visit: Any) -> None:
    tab = visit()
    row = next(r for r in synthetic.rows() if r["arch"] == "vit_micro" and r["outcome"] == "done")
    dots = tab.locator("#chart-compute .mark-symbol path")
    labels = dots.evaluate_all("dots => dots.map(dot => dot.getAttribute('aria-label'))")
    assert any(row["digest"][:12] in (text or "") and f"{row['val_error'] * 100:.1f}" in text for text in labels)


def test_a_point_tells_about_its_trial(visit: Any) -> None:
    tab = visit()
    dot = tab.locator('#chart-compute .mark-symbol path[aria-label*="family: ResNet"]').last
    dot.hover()
    tip = tab.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert "resnet_" in tip.inner_text()
    assert tip.evaluate("e => getComputedStyle(e).position") == "fixed"
    dot.click()
    assert "train_flops" in tab.get_by_role("dialog").inner_text()


def test_table_searches_sorts_and_shows_a_trial(visit: Any) -> None:
    tab = visit()
    tab.get_by_label("Search trials").fill("resnet_micro digits 5")
    assert tab.locator("#trials tbody tr").count() > 1
    header = tab.get_by_role("columnheader", name="Result")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    shown = [float(t.replace("%", "")) for t in tab.locator("#trials tbody tr td:nth-child(9)").all_inner_texts()]
    assert shown == sorted(shown)
    tab.get_by_label("Search trials").fill("truncated")
    assert tab.locator("#trials tbody tr").count() == 1
    tab.locator("#trials tbody button").click()
    sheet = tab.get_by_role("dialog")
    assert "image bytes are truncated" in sheet.inner_text()
    assert "crossover why" in sheet.inner_text()
    tab.keyboard.press("Escape")
    assert sheet.count() == 0


def test_outcome_filter_and_shared_address(visit: Any) -> None:
    tab = visit(hash_="#families=vit,resnet&outcomes=diverged")
    assert tab.locator("#trials tbody tr").count() == 1
    assert not tab.get_by_role("checkbox", name="Hybrid").is_checked()
    tab.get_by_role("checkbox", name="diverged").uncheck()
    assert "No trial matches" in tab.locator("#trials tbody").inner_text()


def test_downloads(visit: Any) -> None:
    tab = visit()
    tab.get_by_role("checkbox", name="ViT").uncheck()
    with tab.expect_download() as trials:
        tab.get_by_role("button", name="Download CSV").click()
    lines = Path(trials.value.path()).read_text().splitlines()
    assert lines[0].startswith("digest,kind,")
    assert not any(",vit," in line for line in lines)
    with tab.expect_download() as figure:
        tab.locator("[data-save=svg][data-of=compute]").click()
    svg = Path(figure.value.path()).read_text()
    assert "<svg" in svg
    assert "var(--" not in svg
    with tab.expect_download() as picture:
        tab.locator("[data-save=png][data-of=compute]").click()
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [320, 420, 768, 1280])
@pytest.mark.parametrize("name", ["full", "0", "1", "2"])
def test_no_sideways_scroll(visit: Any, name: str, width: int) -> None:
    tab = visit(name, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_mode_follows_the_system_and_the_button(visit: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    dark, light = visit(scheme="dark"), visit()
    assert dark.evaluate(paper) == "rgb(20, 22, 26)"
    assert light.evaluate(paper) == "rgb(251, 250, 248)"
    dot = "getComputedStyle(document.querySelector('#chart-compute path[aria-label*=\"samples seen\"]')).fill"
    before = light.evaluate(dot)
    light.get_by_role("button", name="Switch between light and dark").click()
    assert light.evaluate(paper) == "rgb(20, 22, 26)"
    assert light.evaluate(dot) == dark.evaluate(dot) != before


def test_print_is_light_and_whole(visit: Any) -> None:
    tab = visit(scheme="dark")
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(251, 250, 248)"
    assert not tab.locator("#filter").is_visible()
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("#trials tbody tr").count() == len(synthetic.rows())
