"""The page in a real browser, opened from a file: it sorts, filters, opens a flip, and nothing of its data runs."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from alexnet_sweep.report.document import Document, Figure, Heading, Paragraph, Table
from alexnet_sweep.report.flips import ArmFlips, ClassFlips, arm_flips
from alexnet_sweep.report.html import to_html
from alexnet_sweep.report.write import write_report
from alexnet_sweep.running import claimed
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder
from conftest import lacking
from hand_made import Run, restate
from hand_made import make_study as made_by_hand
from test_flips import LABELLED, make_store, make_study
from test_html import SVG

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


def test_a_difference_that_is_zero_as_shown_has_no_sign(browser: Any, tmp_path: Path) -> None:
    rows = tuple(ClassFlips(f"class {net}", 10_000, max(net, 0), max(-net, 0)) for net in (-20, -1, 0, 1, 20))
    path = tmp_path / "page.html"
    flips = [ArmFlips("off", "off", (0,), 50_000, 0, rows)]
    path.write_text(to_html(Document("study", ()), flips, {}), encoding="utf-8")
    browser.get(path.as_uri())
    assert cells(browser, ".few", ":last-child") == ["−0.2", "0.0", "0.0", "0.0", "+0.2"]
    assert cells(browser, ".few", ":nth-child(5)") == ["−20", "−1", "0", "+1", "+20"]


def test_styles_that_the_policy_admits_are_in_force(page: Any) -> None:
    drawn = page.find_element(By.CSS_SELECTOR, "figure g")
    assert drawn.value_of_css_property("fill") == "none"
    assert drawn.value_of_css_property("stroke-linecap") == "butt"
    assert page.find_element(By.CSS_SELECTOR, "main th").value_of_css_property("position") == "sticky"


# --- a whole report of a stranger's run folders ---

RUNS = "window.pwned=1"
PAYLOADS = [
    f"<script>{RUNS}</script>",
    f"</script><script>{RUNS}</script>",
    f"</style><script>{RUNS}</script>",
    f"</title><script>{RUNS}</script>",
    f"</noscript></dialog></svg></table><img src=x onerror={RUNS}>",
    f"--><!--<script>{RUNS}//]]></script>",
    f"<svg onload={RUNS}>",
    f"<svg><script>{RUNS}</script></svg>",
    f"<math><mi xlink:href=javascript:{RUNS}>press</mi></math>",
    f"<iframe srcdoc='<script>parent.{RUNS}</script>'></iframe>",
    f"<details open ontoggle={RUNS}>",
    f"<a href=javascript:{RUNS}>press</a>",
    f"[press](javascript:{RUNS})",
    f"javascript:{RUNS}",
    f'"><img src=x onerror={RUNS}>',
    f"'><img src=x onerror={RUNS}>",
    f'" onmouseover="{RUNS}" autofocus onfocus="{RUNS}',
    f"' onmouseover='{RUNS}' autofocus onfocus='{RUNS}",
    f"x onclick={RUNS} autofocus onfocus={RUNS} ",
    f"${{{RUNS}}}`${{{RUNS}}}`",
    f"{{{{constructor.constructor('{RUNS}')()}}}}",
    f"&lt;img src=x onerror={RUNS}&gt;&#60;script&#62;{RUNS}&#60;/script&#62;",
    f"\\u003cscript\\u003e{RUNS}\\u003c/script\\u003e",
    f"}}*{{background:url(javascript:{RUNS})}}",
    f"\u202e<script>{RUNS}</script>\u2066",
    "<img src=x onerror=alert(1)>",
    "__proto__",
]
OF_OTHERS = """
const found = [];
for (const element of document.querySelectorAll("*")) {
  if (["iframe", "object", "embed", "base", "form", "foreignobject", "math", "details", "animate", "set"].includes(
      element.localName.toLowerCase())) found.push(element.outerHTML);
  for (const { name, value } of element.attributes)
    if (/^on|^srcdoc$|^autofocus$/i.test(name) || /href|src|action/i.test(name) && !/^(#|data:image)/.test(value))
      found.push(`${element.localName} ${name}=${value}`);
}
return found;
"""
OPENED = """
for (const row of document.querySelectorAll(".many .opens")) row.click();
return [...document.querySelectorAll("#look td")].map((cell) => cell.textContent);
"""
TOUCHED = """
for (const element of document.querySelectorAll("main *"))
  for (const kind of ["mouseover", "focus", "toggle", "load", "error"]) element.dispatchEvent(new Event(kind));
for (const link of document.querySelectorAll("a")) link.click();
"""


def answered(folder: RunFolder) -> None:
    """Give a run's predictions the answers from which flips are told; image n is of class n."""
    table = pq.read_table(folder.predictions)
    labels = np.array([int(name.partition(" ")[0]) for name in table["image"].to_pylist()], np.int32)
    right = table["ten_rank"].to_numpy() == 1
    others = (labels + 1) % len(PAYLOADS)
    best = np.stack([np.where(right, labels, others), np.where(right, others, labels)], 1).astype(np.int32)
    table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(labels))
    sure = np.tile(np.float32([0.6, 0.4]), len(labels))
    table = table.append_column("ten_probability", pa.array(np.where(right, 0.6, 0.4).astype(np.float32)))
    table = table.append_column("ten_best", pa.FixedSizeListArray.from_arrays(pa.array(best.ravel()), 2))
    table = table.append_column("ten_best_probabilities", pa.FixedSizeListArray.from_arrays(pa.array(sure), 2))
    folder.write_predictions(table)
    restate(folder, files=None)  # which are written with it anew


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which every payload is a class, an image, a factor, a level, and the reason of a failure."""
    root, count = tmp_path_factory.mktemp("hostile"), len(PAYLOADS)
    runs, images = root / "runs", [f"{place} {text}" for place, text in enumerate(PAYLOADS)]
    result = {"data.name": PAYLOADS[3], "data.fingerprint": "print", "effective.device": PAYLOADS[4]}
    arms = {"base": dict.fromkeys(PAYLOADS, "on")}
    made: dict[tuple[str, int], Run | None] = {("base", 0): Run([1] * count, images=images, result=result)}
    for place, text in enumerate(PAYLOADS):
        arms[text] = arms["base"] | {text: PAYLOADS[place - 1]}
        ten = [1 + (image % count in (place, place - 1)) for image in range(count)]
        made |= {(text, 0): Run(ten, images=images, result=result), (text, 1): None}
    odd = {"question": PAYLOADS[0], "text": PAYLOADS[1], "command": PAYLOADS[2]}
    made_by_hand(runs, made, arms, classes=count, **odd)
    plan = study_folder(runs, "hand").read_plan()
    for arm in plan["arms"][1:]:
        arm["label"] = f"{arm['arm_id']}={arm['levels'][arm['arm_id']]}"
    study_folder(runs, "hand").write_plan(plan)
    for number, ((arm_id, _), run) in enumerate(made.items()):
        folder = RunFolder(runs / f"{number:012x}")
        if run is not None:
            answered(folder)
            continue
        with pytest.raises(ValueError), claimed(folder, 1):
            raise ValueError(arm_id)
    make_store(runs, PAYLOADS, images)
    write_report("hand", runs, root / "reports")
    return root / "reports/hand/report.html"


@pytest.mark.slow
@pytest.mark.parametrize("policy", [True, False], ids=["as it is", "without its policy"])
def test_no_name_of_a_strangers_run_folders_runs(browser: Any, hostile: Path, tmp_path: Path, policy: bool) -> None:
    """The policy would stop a script that got in; without it escaping alone has to."""
    whole = hostile.read_text(encoding="utf-8")
    bare, found = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", whole)
    assert found == 1
    path = tmp_path / "report.html"
    path.write_text(whole if policy else bare, encoding="utf-8")
    browser.get(path.as_uri())
    arms = browser.find_elements(By.CSS_SELECTOR, "#look select")[0].find_elements(By.TAG_NAME, "option")
    assert len(arms) == len(PAYLOADS)
    shown = set()
    for arm in arms:
        arm.click()
        shown |= {*browser.execute_script(OPENED)}
        assert browser.execute_script(OF_OTHERS) == []
    browser.execute_script(TOUCHED)
    assert browser.execute_script("return window.pwned") is None
    assert browser.execute_script("return document.scripts.length") == 2
    assert browser.get_log("browser") == []  # nor has anything been tried that the policy has stopped

    told = [text.replace("\u202e", "\\u202e").replace("\u2066", "\\u2066") for text in PAYLOADS]
    assert {*told, *(f"{place} {text}" for place, text in enumerate(told))} <= shown
    labels = [f"{text}={told[place - 1]}" for place, text in enumerate(told)]
    assert [arm.get_property("textContent") for arm in arms] == labels
    texts = browser.execute_script("return [...document.querySelectorAll('main td')].map((cell) => cell.textContent)")
    assert {*labels, *(f"ValueError: {text.strip()}" for text in told)} <= set(texts)
