"""What docs/extensions writes when the site is built, and what checks it."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from stg.__main__ import COMMANDS
from stg.config.schema import known_keys
from stg.runs.shipped import PRETRAINED, shipped_models
from stg.runtime.files import sha256_file

DOCS = Path(__file__).parents[1] / "docs"
PUBLIC = (
    "stg", "graphs", "decoders", "stg.config", "stg.datasets", "stg.data", "stg.text", "stg.vision", "stg.features",
    "stg.models", "stg.training", "stg.metrics", "stg.captioning", "stg.evaluation", "stg.retrieval", "stg.runs",
    "stg.explain", "stg.pages",
)  # fmt: skip
"""Packages whose exports are public."""


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The folder of the extensions on the path, as Sphinx has it."""
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    return sys.modules[__name__]


def test_every_command_has_a_page_with_all_of_its_options(extension: ModuleType, tmp_path: Path) -> None:
    pages = import_module("command_pages")
    written = {path.stem: path.read_text("utf-8") for path in pages.write_pages(tmp_path / "commands")}
    assert list(written) == [*COMMANDS, "index"]
    for name in COMMANDS:
        assert f"]({name}.md)" in written["index"]
        assert f"\n{name}\n" in written["index"]
        assert "## Examples\n\n```sh\n# " in written[name]
        assert f"\nstg {name} " in f"{written[name]} "
        lines = written[name].split("\n")
        listed = {line.split()[1].removeprefix("--") for line in lines if line.startswith("````{option} ")}
        keys = set(known_keys(pages.config_of(name)))
        assert keys <= listed, f"{name} lacks {keys - listed}"
        assert {"config", "plugin", "debug", "version", "help_all"} <= listed


def test_a_page_is_written_only_where_it_changes(extension: ModuleType, tmp_path: Path) -> None:
    write, page = import_module("page_files").write, tmp_path / "page.md"
    write(page, "one\n\n\n\ntwo\n")
    assert page.read_text("utf-8") == "one\n\ntwo\n"
    page.chmod(0o444)
    before = page.stat().st_mtime_ns
    write(page, "one\n\ntwo\n")
    assert page.stat().st_mtime_ns == before


def test_the_zoo_lists_every_file_that_ships_with_its_hash(extension: ModuleType) -> None:
    text = import_module("zoo_page").zoo_text()
    files = [path for path in PRETRAINED.rglob("*") if path.suffix in (".safetensors", ".onnx")]
    assert files
    for path in files:
        size = f"{path.stat().st_size:,} bytes"
        assert f"- `{path.parent.name}/{path.name}`, {size}, SHA-256 `{sha256_file(path)}`\n" in text
    for model in shipped_models():
        assert f"stg caption clip.mp4 --model {model.name}" in text
        assert f"| [{model.name}](cards/{model.name}.md)" in text
        for search, scores in model.facts["scores"].items():
            if ", test, " in search:
                assert f"| {search} | " in text
                assert f"{scores['cider']['mean']:.3f}" in text


def test_tables_of_the_zoo_fit_a_page(extension: ModuleType) -> None:
    """Six numbers with their deviations are about what fits next to the menu and the contents, at 1440 pixels."""
    rows = [line for line in import_module("zoo_page").zoo_text().split("\n") if line.startswith("|")]
    assert rows
    assert max(row.count("|") - 1 for row in rows) <= 6
    assert import_module("zoo_page").short({"mean": 0.617, "deviation": 0.007}) == ".617 ± .007"
    assert import_module("zoo_page").short({"mean": 10.26, "deviation": None}) == "10.260"


def test_seconds_of_another_model_are_not_shown(extension: ModuleType) -> None:
    model = shipped_models()[0]
    row = import_module("zoo_page").model_row
    timed = {"sha256": model.facts["sha256"], "seconds": {"median": 1.234}}
    assert row(model, timed)[-1] == "1.23"
    assert row(model, {**timed, "sha256": "0" * 64})[-1] == "not measured"


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_on_a_page_of_the_api(module: str) -> None:
    shown, current = set(), ""
    for page in sorted((DOCS / "api").glob("*.md")):
        for line in page.read_text("utf-8").split("\n"):
            words = line.split()
            if words[:2] == ["..", "currentmodule::"]:
                current = words[2]
            elif line.startswith(".. auto") and current == module and "autosummary" not in line:
                shown.add(words[2])
    assert shown == set(import_module(module).__all__) - {"__version__"}


def test_links_that_lead_nowhere_are_found(
    extension: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = import_module("links")
    (tmp_path / "deep").mkdir()
    good = '<a href="deep/two.html#here">x</a><a href="https://example.org/none">x</a><a href="#top">x</a>'
    (tmp_path / "one.html").write_text(f'{good}<a href="deep/">x</a><img src="data:,">')
    (tmp_path / "deep" / "index.html").write_text('<a href="../one.html">x</a>')
    two = tmp_path / "deep" / "two.html"
    two.write_text('<p id="here"><a href="#here">x</a>')
    assert links.main(tmp_path) == 0
    assert capsys.readouterr().out == "0 broken links in 3 pages\n"
    two.write_text('<a href="../none.html">x</a><a href="../one.html#none">x</a><img src="none.png">')
    assert links.main(tmp_path) == 1
    assert capsys.readouterr().out.splitlines() == [
        "deep/two.html: ../none.html (no such file)",
        "deep/two.html: ../one.html#none (no place none)",
        "deep/two.html: none.png (no such file)",
        "one.html: deep/two.html#here (no place here)",
        "4 broken links in 3 pages",
    ]
    assert links.main(tmp_path / "deep" / "none") == 1
