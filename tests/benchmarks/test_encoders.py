"""What the benchmark of encoders counts: memory of edges, and products that no encoder can do without."""

import pytest

from benchmarks.encoders import check_memory, floors, made_batch, memory, per_edge


def test_each_mechanism_keeps_memory_that_is_linear_in_the_edges() -> None:
    kept = memory(made_batch(3, 4, 3, 8), 16)
    check_memory(kept)
    growth = {name: round(per_edge(found), 2) for name, found in kept.items()}
    assert growth == {"typed": 0, "attention": 1, "tracks": 1}


def test_memory_that_grows_faster_is_found() -> None:
    with pytest.raises(AssertionError, match="the memory of dense is not linear in the edges"):
        check_memory({"dense": {"1x": 100, "4x": 1600, "16x": 25600}})


def test_products_of_matrices_by_hand() -> None:
    """Twelve objects in two videos of three frames, two tracks each; joined within a frame and to the next."""
    batch = made_batch(2, 3, 2, 10)
    paper = 2 * 12 * 10 * 8 + 3 * 12 * 8 * 8
    edges, pairs = batch.edge_index.size(1), 2 * 2 * 2
    assert edges == 2 * (3 + 2) * 4
    tracks = 2 * edges * 10 * 16 + 3 * pairs * 32 * 8 + 2 * 2 * 4 * 64 + 3 * 4 * 16 * 8
    found = floors(batch, 8, layers=1)
    assert found["typed"] == pytest.approx(1 + 3 * 12 * 64 / paper, abs=1e-3)
    assert found["attention"] == pytest.approx(1 + 6 * 12 * 64 / paper, abs=1e-3)
    assert found["tracks"] == pytest.approx(tracks / paper, abs=1e-3)
