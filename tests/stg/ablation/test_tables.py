"""The rows of the ablation tables: one setting apart, as the presets have them, with the published figures (P37, S29,
S30, V11)."""

import dataclasses
import re
import shlex
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from stg.ablation.cells import Cell
from stg.ablation.command_lines import evaluate_command, fit_command
from stg.ablation.config import AblateConfig
from stg.ablation.fused import FusedFolder
from stg.ablation.grids import AXES, grid
from stg.ablation.plan import Plan, make_plan, with_settings
from stg.ablation.tables import TABLES
from stg.commands.option_files import PRESETS, with_preset
from stg.commands.parser import parse
from stg.config.evaluation import EvaluateConfig
from stg.config.model import ModelConfig, STaTSConfig, TSConfig
from stg.config.retrieval import EmbedConfig, FuseConfig
from stg.config.schema import differences, to_dict
from stg.config.training import FitConfig, TeacherConfig, TrainingSections
from stg.metrics.columns import PUBLISHED
from stg.runtime.errors import UserError

PRESET_ROWS = {
    ("pan3", 0): {
        "full": "pan_msvd",
        **{row: f"pan_msvd_{row}" for row in ("scene", "concat", "l2", "spatial", "temporal", "dense")},
    },
    ("stats1", 0): {"STaTS": "stats_msvd_i3d", "ST": "stats_msvd_i3d_st", "TS": "stats_msvd_i3d_ts"},
    ("stats1", 1): {"STaTS": "stats_msvd_frcnn", "ST": "stats_msvd_frcnn_st", "TS": "stats_msvd_frcnn_ts"},
    ("stats1", 2): {"STaTS": "stats_msrvtt_i3d", "ST": "stats_msrvtt_i3d_st", "TS": "stats_msrvtt_i3d_ts"},
    ("stats2", 0): {
        "Mean": "stats_msrvtt_i3d_st_mean",
        "LSTM": "stats_msrvtt_i3d_st_lstm",
        "Mean+LSTM": "stats_msrvtt_i3d_st_mean_lstm",
        "TempAtt": "stats_msrvtt_i3d_st_temp_att",
        "Mean+TempAtt": "stats_msrvtt_i3d_st_mean_temp_att",
        "Ranked": "stats_msrvtt_i3d_st_ranked",
        "Mean+Ranked": "stats_msrvtt_i3d_st_mean_ranked",
    },
    ("vatex1", 0): {
        "vanilla": "vatex_vanilla",
        "temporal": "vatex_temporal",
        "spatial": "vatex_spatial",
        "temporal-rl": "vatex_temporal_rl",
        "spatial-rl": "vatex_spatial_rl",
        "fused": "vatex_fused",
    },
}
"""Table and number of its published figures -> row -> the preset of that row."""

REWARDED = {"reward.weight", "reward.from_epoch", "run.start"}
"""How a row that goes on from another one's run differs from it: the paper has no row in between."""

GRIDS = {
    "variants": ["--variants", "spatial,full,none,dense,temporal"],
    "decoders": ["--decoders", "stats,transformer,attention_lstm"],
    "branches": ["--branches", "object,scene,full,l2"],
    "two axes": ["--variants", "full,none", "--decoders", "transformer,stats,attention_lstm"],
    "scene": ["--variants", "full,none,dense", "--decoders", "transformer,stats", "--branches", "scene,object,full"],
    "three axes": ["--variants", "full,none,dense", "--decoders", "transformer,stats", "--branches", "object,full"],
}


@cache
def config_of(*argv: str) -> AblateConfig:
    return parse(AblateConfig, argv, prog="stg.ablate", description="")[0]


def plan_of(*argv: str) -> Plan:
    return make_plan(config_of(*argv))


def apart(one: FitConfig, other: FitConfig) -> set[str]:
    """Settings in which two cells differ, but for folders of their own; a scene branch has no graph to read out."""
    found = differences(to_dict(one), to_dict(other))
    own = {"run.out", "teacher.baseline"} | {key for key in ("run.teacher", "run.start") if all(found.get(key, ()))}
    return set(found) - own - ({"model.readout"} if "scene" in (one.model.branches, other.model.branches) else set())


COMMANDS = {**{name: [name] for name in TABLES}, **GRIDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_row_differs_from_the_one_it_is_set_against_in_one_step(name: str) -> None:
    plan = plan_of(*COMMANDS[name], "--seeds", "0,3", "--controls", "true")
    rows, configs = plan.table.rows, plan.configs
    assert plan.table.reference in rows
    assert [row for row in rows.values() if not row.against], "one row that all begins with"
    for cell, config in configs.items():
        row = rows[cell.row]
        assert not (cell.shuffled and row.fused)
        if row.fused:
            assert row.against in row.fused
        elif row.start:
            assert row.against == row.start
            assert apart(config, configs[Cell(row.start, cell.seed, cell.shuffled)]) == REWARDED, cell
        elif row.against:
            assert len(apart(config, configs[Cell(row.against, cell.seed, cell.shuffled)])) == 1, cell
        assert apart(config, configs[Cell(cell.row, 3 - cell.seed, cell.shuffled)]) == {"run.seed"}
        # A row that is a control of its edges has none of its features, and captions of controls are not fused.
        if cell.row != "edges-shuffled" and not row.fused:
            assert apart(config, configs[Cell(cell.row, cell.seed, not cell.shuffled)]) == {"run.control"}
    assert len({config.run.out for config in configs.values()}) == len(configs)
    assert len({repr(plan.table.described(name)) for name in rows}) == len(rows)


@pytest.mark.parametrize("name", COMMANDS)
def test_all_rows_hang_together(name: str) -> None:
    rows = plan_of(*COMMANDS[name]).table.rows
    assert [row.against for row in rows.values()].count("") == 1
    for row in rows:
        seen = [row]
        while against := rows[seen[-1]].against:
            assert against not in seen
            seen.append(against)


@pytest.mark.parametrize("name", [name for name in TABLES if TABLES[name].published])
def test_rows_of_the_papers_are_set_against_their_reference_or_what_they_go_on_from(name: str) -> None:
    table = TABLES[name]
    fresh = {key: row for key, row in table.rows.items() if not row.start and not row.fused}
    assert {row.against for key, row in fresh.items() if key != table.reference} == {table.reference}
    assert {key for key in table.rows if key not in fresh} == (
        {"temporal-rl", "spatial-rl", "fused"} if name == "vatex1" else set()
    )


@pytest.mark.parametrize("place", PRESET_ROWS)
def test_rows_are_those_of_the_presets(place: tuple[str, int]) -> None:
    name, rows = place[0], PRESET_ROWS[place]
    plan = plan_of(name, "--config", rows[TABLES[name].reference], "--seeds", "0")
    assert set(rows) == set(plan.table.rows)
    for cell, config in plan.configs.items():
        row = plan.table.rows[cell.row]
        if row.fused:
            continue
        preset = parse(FitConfig, ["--config", rows[cell.row]], prog="stg.fit", description="")[0]
        # The preset learns without rewards first; here another row has done so.
        assert apart(preset, config) == ({"run.start", "reward.from_epoch"} if row.start else set()), cell


def test_the_fusion_is_that_of_the_presets() -> None:
    embedding = parse(EmbedConfig, ["--config", "vatex_embedding"], prog="", description="")[0]
    plan = make_plan(config_of("vatex1", "--config", "vatex_vanilla", "--seeds", "3", "--out", "there"), embedding)
    cell = plan.at(Cell("fused", 3))
    assert isinstance(cell, FusedFolder)
    found = differences(to_dict(embedding), to_dict(cell.embed_config))
    assert found == {"out": (None, "there/cells/fused-seed3/embedding"), "seed": (0, 3)}
    words = ["there/cells/temporal-rl-seed3", "there/cells/spatial-rl-seed3", "--config", "vatex_fused"]
    preset = parse(FuseConfig, [*words, "--embedding", "e", "--out", "o"], prog="", description="")[0]
    greedy, beam = (cell.fuse_config(search) for search in cell.searched)
    assert set(differences(to_dict(preset), to_dict(beam))) == {"out", "embedding", "split", "force"}
    assert set(differences(to_dict(beam), to_dict(greedy))) == {"out", "candidates", "search.method"}
    assert (beam.split, beam.out) == ("test", "there/cells/fused-seed3/fusion/test-beam5.json")
    narrow = dataclasses.replace(cell, scoring=dataclasses.replace(cell.scoring, beam=3))
    assert [narrow.fuse_config(search).searched().n_best for search in narrow.searched] == [1, 3]
    # The commands of a cell do the same.
    embed, *fuses = cell.commands
    assert parse(EmbedConfig, shlex.split(embed)[3:], prog="", description="")[0] == cell.embed_config
    assert [parse(FuseConfig, shlex.split(fuse)[3:], prog="", description="")[0] for fuse in fuses] == [greedy, beam]


def test_rows_that_build_on_others_have_those_of_their_seed() -> None:
    plan = plan_of("vatex1", "--seeds", "4,2", "--controls", "true", "--out", "there")
    order = list(plan.configs)
    for cell in order:
        names = [one.cell.name for one in plan.needed(cell)]
        tail = f"-seed{cell.seed}" + "-shuffle" * cell.shuffled
        first = cell.row.removesuffix("-rl")
        expected = [f"{first}{tail}"] if first != cell.row else []
        assert names == (expected if cell.row != "fused" else [f"temporal-rl{tail}", f"spatial-rl{tail}"])
        assert plan.configs[cell].run.start == (f"there/cells/{first}{tail}" if expected else None)
        assert all(order.index(one.cell) < order.index(cell) for one in plan.needed(cell))


@pytest.mark.parametrize("place", PRESET_ROWS)
def test_published_figures_are_those_of_the_presets(place: tuple[str, int]) -> None:
    name, number = place
    published = TABLES[name].published[number]
    for row, preset in PRESET_ROWS[place].items():
        head = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8")
        found = re.search(r"# Published: BLEU-4 (.*?), METEOR (.*?), ROUGE-L (.*?), CIDEr ([\d.]*\d)", head)
        assert found
        figures = [float(number) / (1 if float(number) < 1 else 100) for number in found.groups()]
        assert published.scores[row] == pytest.approx(figures)


def test_figures_on_vatex_test_are_those_of_the_presets() -> None:
    validation, test = TABLES["vatex1"].published
    assert (validation.data, test.data) == ("VATEX validation", "VATEX test")
    for row in ("temporal", "spatial", "temporal-rl", "fused"):
        head = (PRESETS / f"vatex_{row.replace('-', '_')}.yaml").read_text(encoding="utf-8")
        found = re.search(r"on the test set ([\d.]+), ([\d.]+), ([\d.]+), ([\d.]*\d)", head)
        assert found
        assert test.scores[row] == pytest.approx([float(number) / 100 for number in found.groups()])
    assert test.scores.keys().isdisjoint({"vanilla", "spatial-rl"})


def test_published_figures_are_fractions_of_known_rows() -> None:
    for table in TABLES.values():
        for told in table.published:
            assert set(told.scores) <= set(table.rows)
            assert all(len(figures) == len(PUBLISHED) for figures in told.scores.values())
            assert all(0.2 < figure < 1 for figures in told.scores.values() for figure in figures)


def test_places_of_stats_are_objects_unless_asked_otherwise() -> None:
    def streams(*argv: str) -> set[tuple[str, ...]]:
        return {config.model.stats.scene_streams for config in plan_of(*argv).configs.values()}

    assert streams("stats1") == streams("stats2") == {("regions",)}
    assert streams("stats1", "--model.stats.scene_streams", "[frames]") == {("frames",)}
    assert streams("stats1", "--config", "stats_msvd_i3d") == {("grid",)}
    assert streams("pan3") == {("frames",)}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["pan3", "--model.branches", "scene"],
            "model.branches scene contradicts the table pan3, which sets it to scene",
        ),
        (["--graph.variant", "none"], "graph.variant none contradicts the table pan3, which sets it to full, spatial"),
        (["stats1", "--model.branches", "full"], "contradicts the table stats1, which sets it to scene"),
        (
            ["stats1", "--config", "stats_msvd_i3d_st"],
            "stats in its reference row STaTS.: leave it out, or give the pre",
        ),
        (["vatex1", "--model.decoder", "stats"], "model.decoder stats contradicts the table vatex1"),
        (["--variants", "full,none", "--graph.variant", "none"], "graph.variant none contradicts the table grid"),
        (["--run.seed", "3"], "--run.seed is not for all cells: use --seeds"),
        (["--run.seed", "0"], "--run.seed is not for all cells: use --seeds"),
        (["--run.control", "shuffle"], "use --controls"),
        (["--run.out", "x"], "use --out"),
        (["--run.start", "x"], "cells begin with fresh weights"),
        (
            ["--run.teacher", "x"],
            "--run.teacher is not for all cells: the table distillation trains a",
        ),
        (["distillation", "--loss.kl", "js"], "loss.kl js contradicts the table distillation, which sets it to stu"),
        (["pan4"], "no table 'pan4': choose one of pan3, stats1, stats2, vatex1, graph"),
        (["pan3", "--variants", "full"], "pan3 is a table, and --variants asks for a grid: leave one of them out"),
        (
            ["--variants", "full,fool"],
            "--variants must be different ones of full, spatial, temporal, dense, none, tracks, .*; got 'fo",
        ),
        (["--decoders", "stats,stats"], "--decoders must be different ones of .*; got 'stats,stats'"),
        (["--branches", ""], "--branches must be different ones of full, scene, object, concat, l2, joint; got ''"),
        (
            ["--seeds", "0,0"],
            "seeds must be different whole numbers from 0 to .* with commas, such as 0,1,2; got '0,0'",
        ),
        (["--seeds", "1,-2"], "got '1,-2'"),
        (["--seeds", "0, 00"], "got '0, 00'"),
    ],
)
def test_what_contradicts_a_table_is_refused(argv: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan_of(*argv)


def test_settings_of_a_reference_row_may_be_given() -> None:
    assert plan_of("pan3", "--graph.variant", "full").configs == plan_of("pan3").configs
    assert plan_of("stats1", "--model.branches", "scene").configs == plan_of("stats1").configs


def test_contradictions_are_found_without_a_command_line() -> None:
    with pytest.raises(UserError, match=r"model.branches object contradicts the table pan3"):
        make_plan(AblateConfig(model=ModelConfig(branches="object")))


def test_a_grid_needs_an_axis() -> None:
    with pytest.raises(UserError, match="a grid needs an axis: --branches, --variants, --decoders"):
        grid()
    assert set(AXES) <= set(AblateConfig.__dataclass_fields__)


def test_the_scene_branch_is_trained_once_for_all_variants() -> None:
    table = grid(branches=["object", "scene"], variants=["none", "full"])
    assert list(table.rows) == ["object-none", "object-full", "scene-none"]
    assert "trained once (here with graph.variant none)" in " ".join(table.notes)
    first = grid(branches=["scene", "object"], variants=["none", "full"])
    assert {name: row.against for name, row in first.rows.items()} == {
        "scene-none": "",
        "object-none": "scene-none",
        "object-full": "object-none",
    }
    assert not grid(branches=["object", "full"], variants=["none", "full"]).notes


def test_cells_go_seed_by_seed_and_have_folders_of_their_own() -> None:
    plan = plan_of("vatex1", "--seeds", "4,2", "--controls", "true", "--out", "there")
    rows = ["vanilla", "temporal", "spatial", "temporal-rl", "spatial-rl", "fused"]
    assert [cell.name for cell in plan.configs] == [
        f"{row}-seed{seed}{shuffle}"
        for seed in (4, 2)
        for shuffle in ("", "-shuffle")
        for row in rows
        if (row, shuffle) != ("fused", "-shuffle")
    ]
    assert all(config.run.out == f"there/cells/{cell.name}" for cell, config in plan.configs.items())
    assert plan_of("vatex1").folder == Path("runs/ablation-vatex1-world")
    folder = plan_of("--variants", "full", "--data.dataset", "folder", "--data.root", "a/clips").folder
    assert folder == Path("runs/ablation-grid-folder-clips")


def test_meteor_is_asked_of_real_data_sets_alone() -> None:
    assert not plan_of().scoring.meteor
    assert plan_of("--meteor", "true").scoring.meteor
    assert plan_of("--config", "pan_msvd").scoring.meteor
    assert not plan_of("--config", "pan_msvd", "--meteor", "false").scoring.meteor


@pytest.mark.parametrize("argv", [["pan3"], ["stats2"], ["stats1", "--config", "stats_msvd_i3d"], GRIDS["three axes"]])
def test_the_commands_of_a_cell_are_understood_and_do_the_same(argv: list[str]) -> None:
    for cell, config in list(plan_of(*argv, "--seeds", "7", "--out", "a folder").configs.items())[::3]:
        python, m, module, *options = shlex.split(fit_command(config))
        assert (python, m, module) == ("python", "-m", "stg.fit")
        assert parse(FitConfig, options, prog="", description="")[0] == config, cell


def test_the_command_of_a_cell_of_defaults_is_not_that_of_the_preset() -> None:
    config = with_settings(FitConfig(), {"run.out": "o", "run.seed": 3})
    options = shlex.split(fit_command(config))[3:]
    assert with_preset(options, "stg_world") == options
    assert parse(FitConfig, options, prog="", description="")[0] == config


def test_the_commands_hold_all_kinds_of_values() -> None:
    config = with_settings(
        FitConfig(), {"optim.betas": (0.5, 0.9), "reward.lr": 1e-5, "run.start": "a 'b'", "model.standardise": False}
    )
    assert parse(FitConfig, shlex.split(fit_command(config))[3:], prog="", description="")[0] == config
    scoring = EvaluateConfig(run="a b", split="test", beam=3, meteor=False)
    assert parse(EvaluateConfig, shlex.split(evaluate_command(scoring))[3:], prog="", description="")[0] == scoring


def test_settings_are_looked_at_when_all_are_in_place() -> None:
    annealed = FitConfig(model=ModelConfig(decoder="stats", stats=STaTSConfig(ts=TSConfig(anneal_from=1.0))))
    with pytest.raises(ValueError, match="needs decoder 'stats' with order 'ts' or 'stats'"):
        with_settings(annealed, {"model.stats.order": "st"})
    made = with_settings(annealed, {"model.stats.order": "st", "model.stats.ts.anneal_from": None})
    assert made.model.stats.order == "st"
    with pytest.raises(ValueError, match=r"no setting model\.colour"):
        with_settings(annealed, {"model.colour": 1})


def test_every_section_of_a_training_is_that_of_every_cell() -> None:
    """The two commands share them, so that none can be forgotten."""
    own = {"data": {"min_count": 7}, "world": {"train": 9}, "graph": {"layers": 1}, "model": {"channels": 8}}
    own |= {"loss": {"temperature": 2.0}, "optim": {"lr": 0.5}, "reward": {"samples": 3}}
    # What a teacher teaches is set by the rows that have one.
    assert list(own) == [item.name for item in fields(TrainingSections) if item.name != "teacher"]
    words = [f"--{part}.{key}={value}" for part, values in own.items() for key, value in values.items()]
    for config in plan_of("--variants", "full", "--seeds", "0", *words).configs.values():
        found = to_dict(config)
        assert {part: {key: found[part][key] for key in values} for part, values in own.items()} == own


def test_students_have_the_teacher_of_their_seed_and_must_have_a_better_one() -> None:
    plan = plan_of("distillation", "--config", "stg_world", "--seeds", "3,5", "--controls", "true", "--out", "there")
    # Cells before others that need them, and more than eight ways to be taught.
    order = list(plan.configs)
    students = [cell for cell in order if plan.table.rows[cell.row].teacher]
    assert len({cell.row for cell in students}) == 9
    for cell in order:
        config, tail = plan.configs[cell], f"-seed{cell.seed}" + "-shuffle" * cell.shuffled
        if cell not in students:
            assert (config.run.teacher, config.teacher, plan.needed(cell)) == (None, TeacherConfig(), [])
            continue
        assert config.model.branches == "scene"
        assert config.run.teacher == f"there/cells/joint{tail}"
        assert config.teacher.baseline == (None if cell.shuffled else f"there/cells/none{tail}")
        needed = [one.cell for one in plan.needed(cell)]
        assert [one.name for one in needed] == [f"joint{tail}", f"none{tail}"]
        assert all(order.index(one) < order.index(cell) for one in needed)
    preset = parse(FitConfig, ["--config", "stg_world"], prog="stg.fit", description="")[0]
    assert apart(preset, plan.configs[Cell("joint", 3)]) == {"run.seed", "loss.distill_weight"}
