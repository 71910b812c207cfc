"""Reports of ablations: numbers against hand-worked ones, partial tables, and text that stays text."""

import hashlib
import json
import math
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stg.ablation.ablate import write_report
from stg.ablation.cells import Cell
from stg.ablation.config import AblateConfig
from stg.ablation.markdown import to_markdown
from stg.ablation.plan import Plan, make_plan
from stg.ablation.report import apart, make_record
from stg.config.schema import to_dict
from stg.evaluation.plots import nice_ticks, to_svg
from stg.metrics.columns import spread, spread_text
from stg.runtime.errors import UserError

ORIGIN = {"machine": {"cpu": "a & b <c>", "cores": "2"}, "commit": "abc"}
CIDER = {"scene": (0.5, 0.6, 0.7), "none": (0.3, 0.3, 0.3), "full": (0.8, 0.9, 1.0), "spatial": (0.9, 0.7)}
EVENT = {"scene": (0.50, 0.54, 0.58), "none": (0.40, 0.44, 0.48), "full": (0.70, 0.74, 0.78), "spatial": (0.5, 0.6)}
SHUFFLED = 0.25
"""Scores by seed; temporal and dense are not there at all, and the third seed of spatial is not."""


def write_cell(plan: Plan, cell: Cell, cider: float, event: float) -> None:
    """A cell as training and evaluation leave it, but for the model."""
    run = plan.at(cell).run.path
    (run / "evaluation").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(to_dict(plan.configs[cell])))
    (run / "state.json").write_text('{"status": "finished"}')
    scores = {"bleu4": cider / 2, "rouge": 0.5, "cider": cider}
    told = {"scores": scores, "unavailable": {"meteor": "no Java"}}
    (run / "evaluation" / "test-greedy-scores.json").write_text(json.dumps(told))
    events = {"event": event, "two_objects": event / 2, "one_object": 1.0}
    verbs = {"spins": {"videos": 2, "right": event}}
    (run / "evaluation" / "test-greedy-events.json").write_text(json.dumps({"scores": events, "verbs": verbs}))
    evaluated = {"test": {"greedy": {"stem": "test-greedy", "meteor": False}}}
    record = {"seconds": 60.0 + 60 * cell.seed, "evaluated": evaluated, "commit": "c0ffee"}
    plan.at(cell).write_record({**record, "weights": {"trained": 2_000_000, "captioning": 1_000_000}})


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The table of the graph with some of its cells."""
    made = make_plan(AblateConfig(table="graph", controls=True, beam=1, out=str(tmp_path)))
    for row, values in CIDER.items():
        for seed, (cider, event) in enumerate(zip(values, EVENT[row], strict=True)):
            write_cell(made, Cell(row, seed), cider, event)
    for seed in range(3):
        write_cell(made, Cell("full", seed, True), SHUFFLED, SHUFFLED)
    made.at(Cell("dense", 0)).write_record({"failed": {"error": "out of memory", "at": 0.0}})
    return made


def test_deviations_are_those_of_a_sample() -> None:
    assert spread([0.1, 0.2, 0.6]) == {"mean": pytest.approx(0.3), "deviation": pytest.approx(math.sqrt(0.07)),
                                       "values": [0.1, 0.2, 0.6]}  # fmt: skip
    assert spread([0.5]) == {"mean": 0.5, "deviation": None, "values": [0.5]}
    assert spread([]) == {"mean": None, "deviation": None, "values": []}
    assert spread_text(spread([0.5, 0.7])) == "0.600 ± 0.141"
    assert spread_text(spread([0.5])) == "0.500"
    assert spread_text(spread([])) == "-"


def test_differences_are_in_units_of_both_deviations() -> None:
    one, other = spread([0.4, 0.5, 0.6]), spread([0.13, 0.2, 0.27])
    found = apart(one, other)
    assert found["difference"] == pytest.approx(0.3)
    assert found["deviations"] == pytest.approx(0.3 / math.sqrt((0.1**2 + 0.07**2) / 2))
    back = apart(other, one)
    assert (back["difference"], back["deviations"]) == pytest.approx((-0.3, -found["deviations"]))  # type: ignore[operator]
    assert apart(one, spread([0.2]))["deviations"] is None
    assert apart(spread([0.5, 0.5]), spread([0.2, 0.2])) == {"difference": pytest.approx(0.3), "deviations": None}
    assert apart(one, spread([])) == {"difference": None, "deviations": None}


def test_the_record_against_hand_worked_numbers(plan: Plan) -> None:
    record = make_record(plan, origin=ORIGIN)
    rows = {row["name"]: row for row in record["rows"]}
    full = rows["full"]["scores"]["greedy"]
    assert full["cider"] == {"mean": pytest.approx(0.9), "deviation": pytest.approx(0.1), "values": [0.8, 0.9, 1.0]}
    assert full["bleu4"]["mean"] == pytest.approx(0.45)
    assert full["event"]["mean"] == pytest.approx(0.74)
    assert "meteor" not in full
    assert rows["spatial"]["seeds"] == [0, 1]
    assert rows["temporal"]["scores"] == {}
    assert rows["full"]["minutes"] == {
        "mean": pytest.approx(2.0),
        "deviation": pytest.approx(1.0),
        "values": [1.0, 2.0, 3.0],
    }
    assert rows["full"]["verbs"]["greedy"]["spins"]["mean"] == pytest.approx(0.74)
    assert rows["full, shuffled"]["control"]
    assert rows["full"]["settings"] == {"model.branches": "object", "graph.variant": "full"}
    assert record["settings"]["optim"]["epochs"] == 25
    assert "variant" not in record["settings"]["graph"]
    assert "seed" not in record["settings"]["run"]
    assert record["deviation"] == "deviation of a sample (n - 1) over seeds"
    missing = record["missing"]
    assert missing["dense-seed0"] == "failed: out of memory"
    assert missing["spatial-seed2"] == missing["dense-seed1"] == "not begun"
    assert len(missing) == 36 - 14
    assert "METEOR: no Java" in record["notes"]

    differences = {(told["row"], told["against"]): told for told in record["differences"]}
    cider = differences["full", "none"]["scores"]["greedy"]["cider"]
    assert cider == {"difference": pytest.approx(0.6), "deviations": pytest.approx(0.6 / math.sqrt(0.1**2 / 2))}
    event = differences["full", "scene"]["scores"]["greedy"]["event"]
    assert event == {"difference": pytest.approx(0.2), "deviations": pytest.approx(0.2 / 0.04)}
    assert differences["full", "none"]["settings_apart"] == 1
    assert differences["full", "scene"]["settings_apart"] == 2
    assert differences["none", "scene"]["settings_apart"] == 1
    assert differences["full", "full, shuffled"]["settings_apart"] == 1
    assert differences["full", "full, shuffled"]["scores"]["greedy"]["cider"]["difference"] == pytest.approx(0.65)
    assert ("scene", "scene") not in differences


def write_header(plan: Plan, cell: Cell, manifest: dict[str, Any]) -> None:
    """The model's file as far as its features are read from it."""
    told = {"features": manifest, "model": {"branches": "object"}, "widths": {"scene": 1, "motion": 0}}
    header = json.dumps({"__metadata__": {"stg": json.dumps(told)}}).encode()
    (plan.at(cell).run.path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def test_the_report_tells_of_the_store_and_its_edges(plan: Plan) -> None:
    assert make_record(plan, origin=ORIGIN)["features"] is None
    manifest = {"num_frames": 10, "detector": "x"}
    write_header(plan, Cell("full", 0), manifest)
    made = hashlib.sha256(b'{"detector": "x", "num_frames": 10}').hexdigest()
    record = make_record(plan, origin=ORIGIN)
    assert record["features"] == {"manifest": made, "edges": "those of Pan et al. (CVPR 2020)"}
    assert f"Features of manifest {made[:12]}; edges: those of Pan et al. (CVPR 2020).\n" in to_markdown(record)

    sharp = {**manifest, "edges": {"tau_time": 0.1, "top_k": None}}
    write_header(plan, Cell("full", 0), sharp)
    record = make_record(plan, origin=ORIGIN)
    assert record["features"]["edges"] == {"tau_time": 0.1, "top_k": None}
    assert record["features"]["manifest"] != made
    assert "edges: tau\\_time 0.1, top\\_k None.\n" in to_markdown(record)

    write_header(plan, Cell("none", 1), manifest)
    with pytest.raises(UserError, match=r"full-seed0 and none-seed1 in .* other features \(edges: .*\): no table"):
        make_record(plan, origin=ORIGIN)


def test_the_report_tells_which_machines_trained(plan: Plan) -> None:
    assert "Trained at commit c0ffee on -. Reported at commit abc." in to_markdown(make_record(plan, origin=ORIGIN))
    for cell, cpu in ((Cell("full", 0), "fast"), (Cell("full", 1), "slow"), (Cell("none", 0), "fast")):
        plan.at(cell).write_record({**plan.at(cell).record, "machine": {"cpu": cpu, "cores": "4"}, "commit": "f00d"})
    record = make_record(plan, origin=ORIGIN)
    rows = {row["name"]: row for row in record["rows"]}
    assert rows["full"]["machines"] == [{"cpu": "fast", "cores": "4"}, {"cpu": "slow", "cores": "4"}]
    assert rows["scene"]["machines"] == []
    told = "Trained at commit c0ffee, f00d on cpu fast, cores 4; and on cpu slow, cores 4. Reported at commit abc."
    assert told in to_markdown(record)


def test_a_run_that_trains_on_is_no_longer_done(plan: Plan) -> None:
    (plan.at(Cell("full", 0)).run.path / "state.json").write_text('{"status": "running"}')
    assert make_record(plan, origin=ORIGIN)["missing"]["full-seed0"] == "not finished"


def test_the_report_says_what_there_is_and_what_is_missing(plan: Plan, tmp_path: Path) -> None:
    write_report(plan)
    text = (tmp_path / "table.md").read_text()
    assert (
        "| full | 3 | 0.450 ± 0.050 | 0.500 ± 0.000 | 0.900 ± 0.100 | 0.740 ± 0.040 | 0.370 ± 0.020 | 2.00M | 2.0 |"
        in text
    )
    assert "| *control: full, shuffled* | 3 |" in text
    assert "| **scene** | 3 |" in text
    assert "| full | none | +0.600 (+8.5) | +0.300 (+7.5) |" in text
    assert "| full | scene (2 settings) | +0.300 (+3.0) | +0.200 (+5.0) |" in text
    assert "**Not all is there: 22 of 36 cells are missing.**" in text
    assert "- dense-seed0: failed: out of memory" in text
    assert "at commit c0ffee" in text
    record = json.loads((tmp_path / "table.json").read_text())
    assert record["missing"]
    assert ElementTree.parse(tmp_path / "table.svg").getroot().tag.endswith("svg")


def test_rows_three_settings_apart_are_said_to_be(tmp_path: Path) -> None:
    asked = AblateConfig(
        variants="full,none",
        decoders="transformer,stats",
        branches="full,object",
        beam=1,
        out=str(tmp_path),
    )
    plan = make_plan(asked)
    for row in plan.table.rows:
        write_cell(plan, Cell(row, 0), 0.5, 0.5)
    text = to_markdown(make_record(plan, origin=ORIGIN))
    assert "| object-none-stats | full-none-stats |" in text
    assert "| object-none-stats | full-full-transformer (3 settings) |" in text
    assert "| object-none-transformer | full-full-transformer (2 settings) |" in text
    assert "| object-full-transformer | full-full-transformer |" in text


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    plan = make_plan(AblateConfig(beam=1, out=str(tmp_path)))
    write_cell(plan, Cell("full", 0), 0.7, 0.5)
    text = to_markdown(make_record(plan, origin=ORIGIN))
    assert "Published on MSVD test with ResNet-101" in text
    assert "| full (Our Full Model) | 0.350 / 0.522 | - / 0.369 | 0.500 / 0.739 | 0.700 / 0.930 |" in text
    assert "| scene (Scene Branch Only) | - / 0.458 | - / 0.343 | - / 0.710 | - / 0.860 |" in text


HOSTILE = "</text><script>alert('1')</script> & \"x\" | `y` \x00\x1b[31m\n# z"


def hostile(plan: Plan) -> dict[str, Any]:
    record = make_record(plan, origin=ORIGIN)
    record["title"] = record["dataset"] = record["split"] = HOSTILE
    for row in record["rows"]:
        row["name"] = row["title"] = HOSTILE + row["row"]
    record["missing"] = {HOSTILE: HOSTILE}
    record["notes"] = [HOSTILE]
    return record


def test_hostile_names_stay_text_in_the_plot(plan: Plan) -> None:
    root = ElementTree.fromstring(to_svg(hostile(plan), "greedy"))
    kinds = {element.tag.split("}")[1] for element in root.iter()}
    assert kinds == {"svg", "title", "rect", "text", "line", "circle", "polygon", "g"}
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    assert any("<script>alert('1')</script> & \"x\"" in text for text in texts)


def test_hostile_names_stay_text_in_markdown(plan: Plan) -> None:
    text = to_markdown(hostile(plan))
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "\n# z" not in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| row")]
    assert tables
    for lines in tables:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_every_seed_is_drawn_where_its_score_is(plan: Plan) -> None:
    root = ElementTree.fromstring(to_svg(make_record(plan, origin=ORIGIN), "greedy"))
    panels = 3  # CIDEr, event, two objects
    name = {
        kind: f"{{http://www.w3.org/2000/svg}}{kind}" for kind in ("circle", "polygon", "text", "title", "g", "rect")
    }
    assert len(list(root.iter(name["circle"]))) == panels * 11
    assert len(list(root.iter(name["polygon"]))) == panels * 3
    places: dict[float, float] = {}
    for group in root.iter(name["g"]):
        hint = group.find(name["title"])
        assert hint is not None
        text = hint.text or ""
        if "CIDEr" in text and "shuffled" not in text:
            row = text.split(",")[0]
            drawn = [float(circle.get("cx", "")) for circle in group.iter(name["circle"])]
            places |= dict(zip(CIDER[row], drawn, strict=True))
            mean = group.find(name["rect"])
            assert mean is not None
            assert float(mean.get("x", "")) + 1.5 == pytest.approx(sum(drawn) / len(drawn), abs=0.11)
    low, high = min(places), max(places)
    for score, x in places.items():
        share = (score - low) / (high - low)
        assert x == pytest.approx(places[low] + share * (places[high] - places[low]), abs=0.11)


def test_labels_of_the_plot_do_not_touch(plan: Plan) -> None:
    root = ElementTree.fromstring(to_svg(make_record(plan, origin=ORIGIN), "greedy"))
    boxes = []
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        size, x, y = (float(element.get(key, "")) for key in ("font-size", "x", "y"))
        width = 0.6 * size * len(element.text or "")
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[element.get("text-anchor", "start")] * width
        boxes.append((left, left + width, y - 0.8 * size, y + 0.2 * size, element.text))
    edge = float(root.get("width", ""))
    assert all(left >= 0 and right <= edge for left, right, _, _, _ in boxes)
    for place, (left, right, top, bottom, text) in enumerate(boxes):
        for left2, right2, top2, bottom2, other in boxes[:place]:
            assert right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top, (text, other)


def test_a_plot_of_nothing_is_a_plot(tmp_path: Path) -> None:
    write_report(make_plan(AblateConfig(out=str(tmp_path))))
    assert ElementTree.parse(tmp_path / "table.svg").getroot().tag.endswith("svg")
    assert "**Not all is there: 21 of 21 cells are missing.**" in (tmp_path / "table.md").read_text()


@given(st.floats(0, 10), st.floats(0, 10))
@example(5.6875, 5.703125)
def test_ticks_are_few_even_and_around_all_values(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 5
    assert ticks[0] <= low + 1e-6
    assert ticks[-1] >= high - 1e-6
    assert ticks[0] >= 0
    steps = [after - before for before, after in pairwise(ticks)]
    assert max(steps) == pytest.approx(min(steps), abs=1e-8)
