"""The page as a reader opens it: from disk, in a real browser."""

from __future__ import annotations

import base64
import re
import time

import pytest

from tests.browser import CHROMIUM, PATIENCE, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium found; Debian: apt-get install chromium"),
]

COLUMN = """
(name, where) => {
  const table = document.querySelector(where + " table");
  const at = Array.from(table.tHead.rows[0].cells).findIndex((cell) => cell.textContent.trim() === name);
  return Array.from(table.tBodies[0].rows).filter((row) => !row.hidden).map((row) => row.cells[at].textContent);
}
"""
HEADING = """Array.from(document.querySelectorAll("#arms th")).find((cell) => cell.textContent.trim() === {!r})"""


@pytest.fixture(scope="module")
def report(lecture_report):
    return lecture_report


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(browser, report):
    browser.resize(1400)
    browser.open(report.html)
    return browser


def column(page, name, where="#arms"):
    return page.value(f"({COLUMN})({name!r}, {where!r})")


def percent(texts):
    return [float(text.removesuffix(" %")) for text in texts]


def test_it_asks_for_nothing_and_complains_of_nothing(page, report):
    assert page.requests == [report.html.as_uri()]
    assert page.complaints == []


def test_the_browser_would_tell(page, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('x')</script><script>missing()</script><img src='http://127.0.0.1:9/a.png'>")
    page.open(bad)
    assert len(page.complaints) >= 2
    assert "http://127.0.0.1:9/a.png" in page.requests


def test_nothing_can_be_loaded_even_if_it_were_asked_for(page):
    page.value("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/a.png'}))")
    assert page.until("Network.loadingFailed")["blockedReason"] == "csp"


@pytest.mark.parametrize("width", [320, 400, 800, 1400])
def test_the_page_is_no_wider_than_the_window(page, width):
    page.resize(width)
    assert page.value("innerWidth") == width
    assert page.value("document.documentElement.scrollWidth") <= width
    page.value("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    assert page.value("document.documentElement.scrollWidth") <= width


def test_a_printed_page_is_no_wider_than_its_paper(page):
    page.resize(760)
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert page.value("document.documentElement.scrollWidth") <= 760
    finally:
        page.call("Emulation.setEmulatedMedia", media="")


def test_a_report_of_18_arms_prints_on_about_eight_sheets(page):
    pdf = base64.b64decode(page.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])
    assert 5 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 11


def test_the_words_are_explained_at_the_top_and_the_link_to_them_opens_the_fold(page):
    page.value("document.querySelector('#words ~ p a').click()")
    assert page.value("document.querySelector('#basics').open")
    assert page.value("document.querySelector('#basics').getBoundingClientRect().bottom") <= 900
    assert "ReLU" in page.value("document.querySelector('#basics').innerText")


def test_nothing_of_the_first_screen_scrolls_sideways(page):
    wider = (
        "Array.from(document.querySelectorAll('.glance .scroll')).filter((e) => e.scrollWidth > e.clientWidth).length"
    )
    assert page.value(wider) == 0


def test_on_a_phone_the_evidence_is_read_without_scrolling(page):
    page.resize(400)
    inside = "Array.from(document.querySelectorAll('section.claim .scroll'))"
    assert page.value(f"{inside}.length") > 5
    assert page.value(f"{inside}.filter((e) => e.scrollWidth > e.clientWidth).length") == 0


def test_the_answer_the_verdicts_and_the_top_arms_are_on_the_first_screen(page):
    bottom = "document.querySelector({!r}).getBoundingClientRect().bottom"
    for part in ("h1", ".verdicts", "[aria-label='Top arms'] tbody tr:nth-child(5)", "#figure-forest svg"):
        assert page.value(bottom.format(part)) <= 900, part


def test_a_click_sorts_numbers_as_numbers_and_another_turns_them_round(page):
    ranked = column(page, "Test accuracy")
    assert len(ranked) == 18
    page.value(HEADING.format("Test accuracy") + ".querySelector('button').click()")
    assert percent(column(page, "Test accuracy")) == sorted(percent(ranked))
    assert page.value(HEADING.format("Test accuracy") + ".ariaSort") == "ascending"
    page.value(HEADING.format("Test accuracy") + ".querySelector('button').click()")
    assert percent(column(page, "Test accuracy")) == sorted(percent(ranked), reverse=True)
    assert page.value(HEADING.format("Test accuracy") + ".ariaSort") == "descending"
    assert page.value("document.querySelectorAll('#arms th[aria-sort=none]').length") >= 10


def test_missing_numbers_come_last_either_way(page):
    for _ in range(2):
        page.value(HEADING.format("Top arm ahead in") + ".querySelector('button').click()")
        assert column(page, "Top arm ahead in")[-1] == "–", "the top arm is not compared with itself"


def test_arms_that_never_get_there_come_last_either_way(page):
    slowest = "details:has(table.sort)"  # at the smallest rate some arms do not learn
    there = column(page, "Steps to τ", slowest).count("never")
    assert 0 < there < 18
    for _ in range(2):
        page.value(HEADING.format("Steps to τ").replace("#arms", slowest) + ".querySelector('button').click()")
        assert column(page, "Steps to τ", slowest)[-there:] == ["never"] * there


def test_the_keyboard_sorts_too(page):
    assert column(page, "Rank") == [str(i) for i in range(1, 19)]
    page.value(HEADING.format("Arm") + ".querySelector('button').focus()")
    page.press("Enter", text="\r", windowsVirtualKeyCode=13)
    assert column(page, "Arm") == sorted(column(page, "Arm"))
    assert column(page, "Rank") != [str(i) for i in range(1, 19)]


def test_words_and_levels_filter_together(page):
    page.value("document.querySelector('#filter input').focus()")
    page.type("ReLU he")
    assert column(page, "Arm") == [arm for arm in column(page, "Arm") if "relu" in arm and "he" in arm]
    assert 0 < len(column(page, "Arm")) < 18
    before = set(column(page, "Arm"))
    page.value("""(() => {
        const select = Array.from(document.querySelectorAll("#filter select")).at(-1);
        select.value = "no BN";
        select.dispatchEvent(new Event("input", { bubbles: true }));
    })()""")
    assert set(column(page, "Arm")) == {arm for arm in before if arm.endswith("no BN")}
    assert page.value("document.querySelector('#filter output').textContent") == f"{len(column(page, 'Arm'))} shown"


def test_a_command_is_copied_or_at_least_selected(page):
    page.value("document.querySelector('pre.copy button').click()")
    text = page.value("document.querySelector('pre.copy code').textContent")
    page.value("new Promise((done) => setTimeout(done, 200))")
    copied = page.value("document.querySelector('pre.copy button').textContent") == "Copied"
    assert copied or page.value("getSelection().toString()") == text


def test_the_sentence_of_a_claim_is_copied_with_its_claim_and_verdict(page, report):
    page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.call("Page.bringToFront")
    page.value("document.querySelector('#claim-bn-faster .copy button').click()")
    page.value("new Promise((done) => setTimeout(done, 200))")
    verdict = next(v for v in report.content.verdicts if v.key == "bn-faster")
    told = f"{verdict.claim}: {verdict.verdict}. {verdict.sentence}"
    assert page.value("navigator.clipboard.readText()") == told


def saved(page, folder, name):
    """What a click on the table's name leaves in the folder."""
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.value(f"Array.from(document.querySelectorAll('a.download')).find((a) => a.textContent === '{name}').click()")
    deadline = time.monotonic() + PATIENCE
    while not (found := [path for path in folder.iterdir() if path.suffix != ".crdownload"]):
        assert time.monotonic() < deadline
        page.value("new Promise((done) => setTimeout(done, 50))")
    return found


@pytest.mark.parametrize("name", ["ranking.csv", "runs.csv", "claims.csv"])
def test_a_table_is_saved_out_of_the_page_as_it_was_written(page, report, tmp_path, name):
    (path,) = saved(page, tmp_path, name)
    assert path.name == name
    assert path.read_bytes() == report.file(name).read_bytes()
    assert page.complaints == []


def test_without_script_all_arms_stand_in_order(browser, report):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(report.html)
        assert column(browser, "Rank") == [str(i) for i in range(1, 19)]
        assert browser.value("getComputedStyle(document.getElementById('filter')).display") == "none"
        assert browser.value("document.querySelectorAll('th button').length") == 0
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
