"""What the pages in docs/ say of the code is so: names, defaults, links, and lines that fit a screen."""

import re
import runpy
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

import graphs
from stg.__main__ import COMMANDS
from stg.config import ExtractConfig, FitConfig, FuseConfig, SearchConfig, StoreConfig
from stg.config.plugins import KINDS
from stg.config.schema import to_dict

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CHEAT_SHEET = DOCS / "cheat_sheet.md"
PRESETS = ROOT / "stg" / "presets"
MADE = ("_build", "auto_gallery", "cards", "commands", "notebooks", "zoo.md")
"""What the build makes, and what holds no pages."""
BUILT = ("commands/", "auto_gallery/", "cards/", "zoo.md")
"""What pages may link to although only the build makes it; `./run docs` checks these links."""
LONGEST = 120

PAGES = sorted(page for page in DOCS.rglob("*.md") if page.relative_to(DOCS).parts[0] not in MADE)
OBJECT = re.compile(r"\{source\}`(?:[^`<]*<)?([\w.]+)>?`|^```\{source\} ([\w.]+)$", re.MULTILINE)
SETTING = re.compile(r"`((?:--)?[\w.]+)`\s+\(default\s+`([^`]+)`((?:;\s+`\w+`:\s+`[^`]+`)*)\)")
WRITTEN = re.compile(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", re.DOTALL)
"""What `python -m benchmarks table` writes, between its marks."""
LINK = re.compile(r"(?<!\\)\]\(([^()\s]+)\)")


def named(page: Path) -> str:
    """How a page is called in a failure."""
    return page.relative_to(ROOT).as_posix()


def extension(name: str) -> ModuleType:
    """A module of docs/extensions that needs no Sphinx."""
    spec = spec_from_file_location(name, DOCS / "extensions" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flat(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of settings and their values, from a config or from what a preset holds."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def defaults(config: type) -> dict[str, Any]:
    """Name -> default of a config that has fields without one."""
    assert is_dataclass(config)
    return {f"--{item.name}": item.default for item in fields(config)}


def shown(value: Any) -> str:
    """A value as a file of options spells it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    # YAML takes 1e-4 for a text, and the commands do not.
    return str(float(value)) if re.fullmatch(r"\d+e-\d+", str(value)) else str(value)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub and the site make them."""
    text = page.read_text("utf-8")
    if found := re.match(r"```\{include\} (\S+)", text):
        text = (page.parent / found[1]).read_text("utf-8")
    headings = re.findall(r"^#{1,3} (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted((DOCS / "methods").glob("*.md")), ids=named)
def test_objects_of_the_code_exist(page: Path) -> None:
    find = extension("source_objects").find_object
    names = ["".join(found) for found in OBJECT.findall(page.read_text("utf-8"))]
    assert names
    for name in names:
        assert find(name).code


def test_an_object_that_is_gone_is_named_with_what_is_there() -> None:
    source_objects = extension("source_objects")
    with pytest.raises(LookupError, match=r"graphs/conv\.py has no 'STGGone' there, but .*STGConv"):
        source_objects.find_object("graphs.conv.STGGone.forward")
    with pytest.raises(LookupError, match=r"no module of the name numpy\.array"):
        source_objects.find_object("numpy.array")


def test_code_is_shown_from_its_first_line_without_its_docstring() -> None:
    found = extension("source_objects").find_object("stg.models.branches.SceneBranch.forward")
    line = found.path.read_text("utf-8").splitlines()[found.line - 1]
    assert found.code.startswith("def forward(self")
    assert line.strip() == found.code.splitlines()[0]
    assert '"""' not in extension("source_objects").find_object("graphs.conv.symmetric_norm").code


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_defaults_and_presets_are_as_stated(page: Path) -> None:
    values = dict(flat(to_dict(FitConfig()))) | {f"search.{name}": v for name, v in to_dict(SearchConfig()).items()}
    values |= defaults(ExtractConfig) | defaults(StoreConfig) | defaults(FuseConfig)
    for name, default, presets in SETTING.findall(page.read_text("utf-8")):
        assert name in values, f"{named(page)}: there is no option {name}"
        assert default == shown(values[name]), f"{named(page)}: default of {name}"
        for preset, value in re.findall(r"`(\w+)`:\s+`([^`]+)`", presets):
            given = dict(flat(yaml.safe_load((PRESETS / f"{preset}.yaml").read_text("utf-8"))))
            assert value == shown(given[name]), f"{named(page)}: {name} in {preset}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=named)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```$|`[^`\n]+`", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link or link.startswith("mailto:"):
            continue
        if target.is_relative_to(DOCS) and target.relative_to(DOCS).as_posix().startswith(BUILT):
            continue
        assert target.exists(), f"{named(page)} links to {link}, which is not there"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{named(page)} links to {link}, and there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_lines_fit_a_screen(page: Path) -> None:
    # Rows that a script writes are as long as their numbers; lines keep their places.
    text = WRITTEN.sub(lambda found: "\n" * found[0].count("\n"), page.read_text("utf-8"))
    long = [number for number, line in enumerate(text.splitlines(), 1) if len(line) > LONGEST]
    assert not long, f"{named(page)} has more than {LONGEST} characters in: {long}"


def listed(heading: str, column: int = 0) -> list[str]:
    """What stands in code in a column of the table below a heading of the cheat sheet."""
    (section,) = re.findall(
        rf"^## {heading}$(.*?)(?=^## |\Z)", CHEAT_SHEET.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    rows = [row.split("|")[1:-1] for row in section.splitlines() if row.startswith("| `")]
    return [row[column].strip().strip("`") for row in rows]


def test_commands_and_presets_of_the_cheat_sheet_are_those_there_are() -> None:
    tables = runpy.run_path(str(DOCS / "tables.py"))
    page = CHEAT_SHEET.read_text("utf-8")
    assert page == tables["written"](page), "docs/cheat_sheet.md is out of date: ./run py docs/tables.py"
    assert all(f"- `{path.stem}`: " in page for path in PRESETS.glob("*.yaml"))


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("Decoders", "decoder"),
        ("Searches", "search"),
        ("Scores", "metric"),
        ("Rewards", "reward"),
        ("Data sets", "dataset"),
        ("Edges of the graph", "variant"),
    ],
)
def test_tables_of_the_cheat_sheet_hold_all_names(heading: str, kind: str) -> None:
    # A test of plugins compares these names with the dicts themselves, whose modules import torch.
    names = KINDS[kind].built_in
    assert tuple(listed(heading)[: len(names)]) == names


def test_explainers_of_the_cheat_sheet_are_those_there_are() -> None:
    code = extension("source_objects").find_object("stg.explain.explainers.EXPLAINERS").code
    assert listed("Explainers") == re.findall(r'"(\w+)":', code)


def test_types_of_edges_in_the_cheat_sheet_are_those_there_are() -> None:
    heading, variants = "Edges of the graph", len(KINDS["variant"].built_in)
    numbers = [int(number) for number in listed(heading, 1)[variants:]]
    assert dict(zip(listed(heading)[variants:], numbers, strict=True)) == graphs.EDGE_TYPES


def test_fields_of_a_graph_are_those_of_the_cheat_sheet() -> None:
    sizes = {"N": 3, "T": 4, "D": 5, "S": 6, "L": 2, "M": 7, "P": 49, "G": 8, "A": 9, "U": 10}
    features = graphs.VideoFeatures(
        boxes=torch.tensor([[0.0, 0, 3, 1], [1, 0, 4, 1], [0, 0, 2, 2]]),
        objects=torch.rand(3, 5),
        frame=torch.tensor([0, 0, 2]),
        num_frames=4,
        scores=torch.rand(3),
        scene=torch.rand(4, 6),
        motion=torch.rand(2, 7),
        motion_row=torch.tensor([0, 0, 1, 1]),
        frame_number=torch.arange(4),
        grid=torch.rand(2, 49, 8),
        audio=torch.rand(9, 10),
        audio_mask=torch.ones(9, dtype=torch.bool),
        total_frames=40,
        fps=25.0,
        size=(48, 64),
        label=torch.tensor([1, 2, 3]),
        frame_time=torch.arange(4) * 0.3,
        track=torch.tensor([0, 1, 0]),
        label_score=torch.rand(3),
    )
    made = graphs.flat_graph(features).to_dict()
    sizes["E"] = len(made["edge_weight"])
    table = zip(*(listed("Fields of a graph", column) for column in range(3)), strict=True)
    stated = {name: (shape, kind) for name, shape, kind in table}
    assert stated.keys() == made.keys()
    for name, value in made.items():
        shape, kind = stated[name]
        if isinstance(value, torch.Tensor):
            assert [sizes[letter] if letter in sizes else int(letter) for letter in shape.strip("[]").split()] == list(
                value.shape
            ), name
            assert f"torch.{kind}" == str(value.dtype), name
        else:
            assert kind == type(value).__name__, name


def test_llms_txt_links_every_page_and_names_every_command() -> None:
    text = (DOCS / "llms.txt").read_text("utf-8")
    links = re.findall(r"^- \[[^\]]+\]\(_sources/(\S+)\.txt\): ", text, re.MULTILINE)
    links = [link for link in links if not link.startswith(BUILT)]
    # The index of the site says nothing that is not said here.
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES} - {"index.md"}
    assert sorted(links) == sorted(pages), "docs/llms.txt has a line for each page of docs/, and for no other"
    named = set(re.findall(r"`stg (\w+)", text.partition("## Commands")[2]))
    assert named == set(COMMANDS)
    assert text.startswith("# stg\n\n> ")
