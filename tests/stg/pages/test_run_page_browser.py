"""The page of a run in a real browser: nothing moves out of it, nothing is loaded, nothing goes wrong."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from stg.pages.run.page import run_html, run_view
from tests.stg.pages.test_run_page import CAPTIONS, HOSTILE, REFERENCES, add_evaluation, make_run, record


@pytest.mark.parametrize("width", [390, 1600])
def test_page_in_a_browser(browser: Browser, tmp_path: Path, width: int) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "state.json").write_text(json.dumps({"status": "failed", "error": HOSTILE}))
    add_evaluation(folder, {**CAPTIONS, "v4": HOSTILE}, cider=1.0)
    (tmp_path / "table.json").write_text(json.dumps(record(title=HOSTILE)))
    references = {**REFERENCES, "v4": [HOSTILE]}
    file = tmp_path / "page.html"
    file.write_text(
        run_html(run_view(folder, references=references, ablations=[tmp_path], tagger="lexicon")), encoding="utf-8"
    )
    context = browser.new_context(viewport={"width": width, "height": 900})
    tab = context.new_page()
    trouble: list[str] = []
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: trouble.append(request.url) if not request.url.startswith("data:") else None)
    tab.goto(file.as_uri())
    assert trouble == [file.as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.locator(".chart svg .line").count() > 4
    above = """marks => marks.map(mark => mark.getBBox().y + mark.getBBox().height <= Math.min(
        ...[...mark.closest('svg').querySelectorAll('.grid')].map(line => line.getBBox().y)))"""
    # The mark of the best epoch lies above the plot, where it hides no point.
    marks = tab.locator(".mark-name").evaluate_all(above)
    assert len(marks) == 4
    assert all(marks)
    # The style is allowed by its hash and holds; plots are drawn.
    assert tab.locator(".line").first.evaluate("line => getComputedStyle(line).fill") == "none"
    assert tab.locator("img.plot").evaluate_all("all => all.map(plot => plot.naturalWidth > 100)") == [True, True]
    assert tab.locator("#written li", has_text="alert(1)").count() >= 1
    tab.locator("#curves summary").focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#curves tbody tr.strong").is_visible()
    context.close()
