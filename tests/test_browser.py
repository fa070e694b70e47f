"""The page in a real browser, opened from a file: it sorts, filters, opens a flip, and nothing of its data runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alexnet_sweep.report.document import Document, Figure, Heading, Paragraph, Table
from alexnet_sweep.report.flips import arm_flips
from alexnet_sweep.report.html import to_html
from conftest import lacking
from test_flips import LABELLED, make_study
from test_html import SVG

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

HOSTILE = "</script><img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
IMAGE, BROKEN = ":last-child", ":nth-child(3)"  # columns


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if driver is None or chromium is None:
        lacking("no chromium with a chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield found
    finally:
        found.quit()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Any:
    """A browser that shows the hand-made flips of test_flips, with a hostile class instead of the cat."""
    flips = arm_flips(tmp_path, LABELLED, "base", make_study(tmp_path, [HOSTILE, "dog", "owl"]))
    blocks = (Heading("One"), Paragraph(HOSTILE), Table.of([HOSTILE], [[HOSTILE]]), Figure("one", HOSTILE))
    path = tmp_path / "page.html"
    path.write_text(to_html(Document("study", blocks), flips, {"one": SVG}), encoding="utf-8")
    browser.get(path.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert browser.title == "study" and not browser.find_elements(By.CSS_SELECTOR, "[onerror]")


def cells(page: Any, table: str, column: str) -> list[str]:
    found = page.find_elements(By.CSS_SELECTOR, f"{table} tbody td{column}")
    return [cell.get_attribute("textContent") for cell in found]


def press(page: Any, element: Any, key: str) -> None:
    """By keyboard alone."""
    page.execute_script("arguments[0].focus()", element)
    page.switch_to.active_element.send_keys(key)


def test_a_click_and_a_key_sort_a_table(page: Any) -> None:
    broken = page.find_elements(By.CSS_SELECTOR, ".few th")[2]
    broken.find_element(By.TAG_NAME, "button").click()
    assert cells(page, ".few", BROKEN) == ["2", "1", "0"] and broken.get_attribute("aria-sort") == "descending"
    press(page, broken.find_element(By.TAG_NAME, "button"), Keys.ENTER)
    assert cells(page, ".few", BROKEN) == ["0", "1", "2"] and broken.get_attribute("aria-sort") == "ascending"
    name = page.find_elements(By.CSS_SELECTOR, ".few th")[0]
    name.find_element(By.TAG_NAME, "button").click()
    assert cells(page, ".few", ":first-child") == [HOSTILE, "dog", "owl"] and broken.get_attribute("aria-sort") is None


def test_a_flip_opens_with_both_answers(page: Any) -> None:
    row = page.find_elements(By.CSS_SELECTOR, ".many tbody tr")[0]
    dialog = page.find_element(By.ID, "flip")
    assert not dialog.is_displayed()
    press(page, row, Keys.ENTER)
    assert dialog.is_displayed()
    answers = [line.text.split("\n") for line in dialog.find_elements(By.TAG_NAME, "li")]
    assert answers == [[HOSTILE, "60.0 %"], ["dog", "40.0 %"], ["dog", "60.0 %"], ["owl", "40.0 %"]]
    assert len(dialog.find_elements(By.CSS_SELECTOR, "li.correct")) == 1
    assert "broken with 2, fixed with 0 of 2 paired seeds" in dialog.text
    picture = dialog.find_element(By.TAG_NAME, "img")
    assert page.execute_script("return arguments[0].naturalWidth", picture) == 8
    bars = [bar.size["width"] for bar in dialog.find_elements(By.CSS_SELECTOR, ".bar")]
    assert bars[0] == pytest.approx(1.5 * bars[1], rel=0.02)
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert dialog.find_element(By.TAG_NAME, "h3").text == "Label: owl"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()


def test_filters_and_the_choice_of_an_arm(page: Any) -> None:
    chosen = {item.text.split("\n")[0]: item for item in page.find_elements(By.CSS_SELECTOR, "#look label")}
    chosen["kind"].find_element(By.CSS_SELECTOR, "option[value='-1']").click()
    assert cells(page, ".many", IMAGE) == ["d", "b"]
    page.find_elements(By.CSS_SELECTOR, ".few tbody tr")[0].click()  # the first class
    assert cells(page, ".many", IMAGE) == ["b"]
    chosen["arm"].find_element(By.CSS_SELECTOR, "option[value='1']").click()
    assert cells(page, ".many", IMAGE) == ["a", "b"]


def test_styles_that_the_policy_admits_are_in_force(page: Any) -> None:
    drawn = page.find_element(By.CSS_SELECTOR, "figure g")
    assert drawn.value_of_css_property("fill") == "none"
    assert drawn.value_of_css_property("stroke-linecap") == "butt"
    assert page.find_element(By.CSS_SELECTOR, "main th").value_of_css_property("position") == "sticky"
