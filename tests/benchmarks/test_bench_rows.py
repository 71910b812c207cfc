"""The table and the figure of a bench, by hand."""

from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.bench_plot import to_svg
from benchmarks.bench_rows import as_numbers, chance_rights, flow_features, markdown, plain_row
from stg.benchmark.balance import blind_hits
from stg.benchmark.making import MadeBench, make_bench
from stg.benchmark.questions import KINDS


@pytest.fixture(scope="module")
def made() -> MadeBench:
    return make_bench(0, 24)


def test_a_row_is_the_mean_of_its_seeds(made: MadeBench) -> None:
    right = {one.id: float(one.kind == "order") for one in made.questions}
    wrong = dict.fromkeys(right, 0.0)
    row = plain_row("ours", made, [right, wrong])
    order = row["kinds"]["order"]
    assert (order["accuracy"], order["seeds"], order["low"], order["high"]) == (0.5, [1.0, 0.0], 0.5, 0.5)
    assert (order["twins"], order["chance"], order["questions"]) == (0.5, 0.5, 4)
    assert row["in_time"] == 0.125
    assert row["seeds"] == 2
    # Kinds that nobody answers are none.
    some = {name: value for name, value in right.items() if not name.startswith("count")}
    assert set(KINDS) - plain_row("ours", made, [some])["kinds"].keys() == {"count"}


def test_table_and_figure_hold_every_row(made: MadeBench) -> None:
    no_count = {name: hit for name, hit in as_numbers(blind_hits(made)).items() if not name.startswith("count")}
    rows = [
        plain_row("chance", made, [chance_rights(made)]),
        {**plain_row("a < b", made, [no_count, no_count]), "control": True, "consistency": 0.25},
    ]
    head, rule, first, second = markdown(rows)
    assert head.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert first.startswith("| chance | 1 | 25 (25-25) | 50 (50-50) |")
    assert second.endswith("| 25 |")
    record = {"rows": rows, "clips": 24}
    drawn = ElementTree.fromstring(to_svg(record))
    words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"chance", "a < b", *KINDS} <= set(words)
    assert words.count("no words") == 1


def test_flow_has_the_sign_of_the_motion() -> None:
    def clip(step: int) -> np.ndarray:
        frames = np.zeros((10, 96, 96, 3), np.uint8)
        rng = np.random.default_rng(0)
        patch = rng.integers(0, 255, (24, 24, 1), np.uint8).repeat(3, 2)
        for time in range(10):
            left = 40 + step * (time - 5)
            frames[time, 30:54, left : left + 24] = patch // 2 + 60
        return frames

    right, left, still = (flow_features(clip(step)) for step in (1, -1, 0))
    # The first number of each third is how far things move to the right.
    assert all(right[place] > 0.1 and left[place] < -0.1 for place in (0, 9, 18))
    assert np.abs(still[[0, 9, 18]]).max() < 1e-9
