"""What calibration says of one caption: the chance that it is right, and whether its clip is like the training data."""

from collections.abc import Mapping

from stg.config.search import SearchConfig
from stg.data.batches import BatchSource
from stg.models.feature_kinds import clip_means
from stg.models.generation import Caption
from stg.runs.calibration import Calibration, Level, level


def calibration_of(
    found: Mapping[str, Calibration], search: SearchConfig, *, classes: bool = False
) -> Calibration | None:
    """What confidence is worth with a search; None where that was not calibrated.

    Args:
        found: of a model, by search.
        classes: the model reads the class of each video; without, captions of videos without a class count, where it
            reads one.
    """
    without = None if classes else found.get(f"{search.name}, no class")
    return without or found.get(search.name)


def chance_of(calibration: Calibration | None, caption: Caption) -> tuple[float, Level] | None:
    """The chance that a caption is right, in 0..1, and the same in a word; None without a calibration."""
    if calibration is None:
        return None
    chance = calibration.chance(caption.log_prob)
    return chance, level(chance)


def unlike_training(found: Mapping[str, Calibration], source: BatchSource, video: str) -> str | None:
    """A warning where the features of a video lie farther from the training data than nearly all others; else None.

    Args:
        found: calibrations of a model, by search.
    """
    # That of any search will do: how captions are searched for does not change the features.
    one = next((each for each in found.values() if each.feature), None)
    if one is None:
        return None
    features = clip_means(source.batch([video]), one.feature)[0].tolist()
    if len(features) != len(one.mean) or (distance := one.distance(features)) <= one.farthest:
        return None
    return (
        f"unlike the training data (its features are {distance:.2f} from their mean, in their deviations; "
        f"of the validation videos one in a hundred is beyond {one.farthest:.2f})"
    )
