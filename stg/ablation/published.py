"""Figures that the papers print for the rows of the ablation tables."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Figures that a paper prints for the rows of a table, as fractions.

    Args:
        source: paper and table.
        data: data set and split.
        features: what the paper's models read.
        scores: name of a row -> BLEU-4, METEOR, ROUGE-L, CIDEr.
    """

    source: str
    data: str
    features: str
    scores: Mapping[str, tuple[float, float, float, float]]


def _percent(rows: Mapping[str, tuple[float, float, float, float]]) -> dict[str, tuple[float, float, float, float]]:
    """Figures that a paper prints times 100."""
    return {name: (b / 100, m / 100, r / 100, c / 100) for name, (b, m, r, c) in rows.items()}


_PAN = "Pan et al. (CVPR 2020), Table 3"
_STATS = "Cherian et al. (STaTS, WACV 2020), Table {}"
_CHEN = "Chen et al. (VATEX challenge 2019), Table 1"
PAN3 = (
    Published(
        _PAN,
        "MSVD test",
        "ResNet-101, I3D, Faster R-CNN (ResNeXt-101, Visual Genome)",
        _percent(
            {
                "scene": (45.8, 34.3, 71.0, 86.0),
                "concat": (45.5, 34.1, 70.7, 79.3),
                "l2": (46.1, 33.7, 70.6, 80.3),
                "spatial": (50.8, 36.1, 72.9, 91.8),
                "temporal": (50.7, 36.1, 73.1, 92.1),
                "dense": (51.4, 35.9, 72.8, 91.3),
                "full": (52.2, 36.9, 73.9, 93.0),
            }
        ),
    ),
)

STATS1 = (
    Published(
        _STATS.format(1),
        "MSVD test",
        "I3D, grid of 7x7",
        {
            "ST": (0.502, 0.325, 0.68, 0.742),
            "TS": (0.391, 0.289, 0.646, 0.521),
            "STaTS": (0.526, 0.335, 0.695, 0.802),
        },
    ),
    Published(
        _STATS.format(1),
        "MSVD test",
        "Faster R-CNN, 10 boxes a frame",
        {
            "ST": (0.477, 0.33, 0.69, 0.686),
            "TS": (0.376, 0.274, 0.633, 0.439),
            "STaTS": (0.492, 0.319, 0.68, 0.709),
        },
    ),
    Published(
        _STATS.format(1),
        "MSR-VTT test",
        "I3D, grid of 7x7",
        {
            "ST": (0.397, 0.271, 0.600, 0.429),
            "TS": (0.380, 0.273, 0.595, 0.427),
            "STaTS": (0.401, 0.275, 0.604, 0.434),
        },
    ),
)

STATS2 = (
    Published(
        _STATS.format(2),
        "MSR-VTT test",
        "I3D (RGB), grid of 7x7",
        {
            "Mean": (0.362, 0.263, 0.580, 0.389),
            "LSTM": (0.347, 0.261, 0.578, 0.385),
            "Mean+LSTM": (0.364, 0.259, 0.575, 0.388),
            "TempAtt": (0.368, 0.258, 0.580, 0.382),
            "Mean+TempAtt": (0.368, 0.26, 0.58, 0.385),
            "Ranked": (0.376, 0.264, 0.589, 0.387),
            "Mean+Ranked": (0.376, 0.268, 0.592, 0.404),
        },
    ),
)

VATEX1 = (
    Published(
        _CHEN,
        "VATEX validation",
        "ResNeXt-101, ir-CSN, VGGish, Mask R-CNN",
        _percent(
            {
                "vanilla": (36.7, 25.5, 52.1, 72.5),
                "temporal": (38.4, 26.5, 53.2, 78.5),
                "spatial": (38.4, 26.3, 53.2, 77.8),
                "temporal-rl": (41.4, 26.8, 54.6, 85.4),
                "spatial-rl": (41.0, 26.9, 54.6, 85.4),
                "fused": (42.2, 27.4, 55.2, 88.8),
            }
        ),
    ),
    Published(
        _CHEN,
        "VATEX test",
        "ResNeXt-101, ir-CSN, VGGish, Mask R-CNN",
        _percent(
            {
                "temporal": (35.7, 25.1, 51.5, 65.3),
                "spatial": (36.7, 25.3, 52.1, 66.5),
                "temporal-rl": (38.4, 25.3, 52.8, 70.9),
                "fused": (39.1, 25.8, 53.3, 73.4),
            }
        ),
    ),
)
