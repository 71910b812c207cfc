"""Files of options and words of the command line that are no options (faults H3, H4, H8, H9)."""

import json
import time
from pathlib import Path

import pytest

from stg.commands.parser import parse
from stg.config.captioning import CaptionConfig
from stg.config.extraction import ImportConfig
from stg.config.probe import ProbeConfig
from stg.config.results import CompareConfig
from stg.config.retrieval import EmbedConfig
from stg.config.training import FitConfig
from stg.features.precomputed.description import Description
from stg.runtime.errors import UserError
from stg.runtime.yaml_reading import MAX_BYTES, read_yaml

SECRET = "hunter2"
PASSWD = f"root:x:0:0:{SECRET}:/root:/bin/bash\ndaemon:x:1:1:{SECRET}:/usr/sbin:/usr/sbin/nologin\n"
SHADOW = f"root:$6${SECRET}:19000:0:99999:7:::\ndaemon:{SECRET}:19000:0:99999:7:::\n"
GROUP = f"root:x:0:\n\nusers:x:100:\nx{SECRET}\n"

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 20))


def told(*words: str, of: type = FitConfig) -> str:
    with pytest.raises(UserError) as error:
        parse(of, words, prog="stg", description="")
    return str(error.value)


@pytest.mark.parametrize("option", ["config", "optim", "model.stats"])
@pytest.mark.parametrize(
    "text",
    [
        PASSWD,
        SHADOW,
        GROUP,
        SECRET,
        f"- {SECRET}",
        f"{SECRET}!: 1",
        f"1: {SECRET}",
        f"optim: {{1: {SECRET}}}",
        f"'{SECRET}",
    ],
)
def test_a_file_that_holds_no_options_is_refused_without_its_text(text: str, option: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    said = told(f"--{option}", str(tmp_path / "file"))
    assert said.startswith(str(tmp_path / "file"))
    assert "is no file of options" in said or "is not valid YAML" in said
    assert SECRET not in said
    assert told(f"--{option}={tmp_path / 'file'}") == said


def test_a_file_of_options_opens_no_other(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(SHADOW)
    for text in ("config: other.yaml", "optim: other.yaml", "model: {stats: other.yaml}"):
        (tmp_path / "file.yaml").write_text(text.replace("other", f"{tmp_path}/other"))
        assert (
            "names no other" in (said := told("--config", str(tmp_path / "file.yaml"))) or "must be an object" in said
        )


def test_files_of_options_are_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "x: &lr 0.5\n".replace("x: ", "optim: {lr: ").replace("\n", "}\nrun: {out: null}\n")
    )
    (tmp_path / "b.yaml").write_text("epochs: 3\n")
    config, _ = parse(
        FitConfig, ["--config", f"{tmp_path}/a.yaml", "--optim", f"{tmp_path}/b.yaml"], prog="", description=""
    )
    assert (config.optim.lr, config.optim.epochs, config.run.out) == (0.5, 3, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "holds more than 50000 values, those behind aliases counted"),
        (MERGES, "holds more than 50000 values, those behind aliases counted"),
        ("a: &a [*a]", "holds an alias that stands for itself"),
        ("a: &a {<<: *a}", "holds an alias that stands for itself"),
        ("[" * 60_000, "is nested more than 32 levels deep"),
        ("- " * 60_000, "is nested more than 32 levels deep"),
        ("a: " + "1:" * 50_000 + "1", "line 1 holds a number of 100001 characters"),
        ("a: 2001-99-99", r"is not valid YAML \(ValueError\)"),
        ("a: \0", r"is not valid YAML \(ReaderError\)"),
        ("!!bool x", r"is not valid YAML \(KeyError\)"),
        ("!!timestamp x", r"is not valid YAML \(AttributeError\)"),
        ("!!python/object/apply:os.system [ls]", "is not valid YAML at line 1 column 1"),
        ("#" * (MAX_BYTES + 1), f"more than the {MAX_BYTES} that such a file may have"),
    ],
    ids=lambda value: value[:12],
)
def test_yaml_that_is_small_and_means_much_is_refused_at_once(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(text)
    start = time.process_time()
    for read in (read_yaml, Description.read):
        with pytest.raises(UserError, match=said):
            read(tmp_path / "file.yaml")
    assert "file.yaml" in told("--config", str(tmp_path / "file.yaml"))
    assert time.process_time() - start < 6


def test_an_alias_counts_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text("a: &a [1, 2]\nb: [*a, *a]\nc: {<<: {d: *a}}\n")
    assert read_yaml(tmp_path / "file.yaml") == {"a": [1, 2], "b": [[1, 2], [1, 2]], "c": {"d": [1, 2]}}


@pytest.mark.parametrize("name", ["#1.html", "null", "~", "Null", "", "1", "[x].html", "a: b", '"null"'])
def test_a_name_on_the_command_line_is_taken_as_it_stands(name: str) -> None:
    for words in (["--report", name], [f"--report={name}"]):
        config, _ = parse(CaptionConfig, ["a.mp4", "--model", "m", *words], prog="", description="")
        assert config.report == name
    config, _ = parse(FitConfig, ["--data.root", name], prog="", description="")
    assert config.data.root == name


def test_behind_two_dashes_are_no_options() -> None:
    config, _ = parse(CaptionConfig, ["--model", "m", "--", "--report", "#1.html"], prog="", description="")
    assert (config.report, config.videos) == (None, ("--report", "#1.html"))


@pytest.mark.parametrize("seed", [-1, 2**63, 2**70, 10**400])
def test_seeds_that_no_generator_takes_are_refused(seed: int) -> None:
    words = r"seed must be a whole number from 0 to 2\*\*63 - 1; got"
    for option, of in (("run.seed", FitConfig), ("world.seed", FitConfig), ("seed", EmbedConfig)):
        assert "seed must be a whole number from 0 to 2**63 - 1; got" in told(f"--{option}", str(seed), of=of)
    assert "seed must be a whole number" in told("a", "--seed", str(seed), of=CompareConfig)
    assert "seeds must be different whole numbers from 0 to 2**63 - 1" in told("--seeds", f"0,{seed}", of=ProbeConfig)
    search = ["a.mp4", "--model", "m", "--search.method", "sample", "--search.seed", str(seed)]
    assert "seed must be a whole number" in told(*search, of=CaptionConfig)
    with pytest.raises(ValueError, match=words):
        FitConfig(run=type(FitConfig().run)(seed=seed))


def test_numbers_that_no_tensor_holds_are_refused() -> None:
    assert told("--optim.batch_videos", str(2**64)) == f"--optim.batch_videos must lie within 64 bits; got {2**64}"
    assert "Exceeds the limit" in told("--optim.epochs", "9" * 5000)
    assert "must be at most 1,000,000 videos in all" in told("--world.train", str(10**9))
    assert "max_words must be at most 10000" in told("--data.max_words", str(10**9))


@pytest.mark.parametrize("layout", [[], ["vatex_i3d"], {}, 5, True])
def test_a_layout_that_is_no_name_is_refused(layout: object, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps({"name": "n", "version": "1", "layout": layout, "source": "x"}))
    with pytest.raises(UserError, match=r"f\.json: unknown layout"):
        Description.read(tmp_path / "f.json")
    parse(ImportConfig, [str(tmp_path / "f.json"), "--out", "s"], prog="", description="")


@pytest.mark.parametrize(
    "changed",
    [
        {"num_frames": 10**12},
        {"num_frames": 2**70},
        {"frames": [2**70]},
        {"frames": f"stride:{2**70}"},
        {"frames": "stride:" + "9" * 5000},
        {"scene": {"source": "x", "width": 2**70}},
        {"motion": {"source": "x", "width": 4, "span": 2**70}},
    ],
)
def test_numbers_of_a_description_are_bounded(changed: dict[str, object], tmp_path: Path) -> None:
    made = {"name": "n", "version": "1", "scene": {"source": "x", "width": 4}, **changed}
    (tmp_path / "f.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match=r"f\.json: "):
        Description.read(tmp_path / "f.json")
