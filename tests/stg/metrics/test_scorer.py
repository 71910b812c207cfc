"""Scores equal those of the COCO code, and wrong input is told apart from a bad caption."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stg.metrics import measures
from stg.metrics.meteor import Meteor
from stg.metrics.scorer import Scorer, score
from stg.runtime.errors import UserError
from stg.text.vocabulary import EOS, SPECIAL, Vocabulary
from stg.training import rewards

# Computed with the Java tokenizer and the scorers of pycocoevalcap, called directly.
GOLDEN = json.loads(Path(__file__).with_name("metrics_golden.json").read_text(encoding="utf-8"))
PYTHON = ("bleu", "rouge", "cider")
PUBLISHED = {
    "bleu1": 0.810, "bleu2": 0.697, "bleu3": 0.606, "bleu4": 0.511, "rouge": 0.706, "cider": 0.777, "meteor": 0.335,
}  # fmt: skip

# Of pycocoevalcap itself (reference=True), for the captions of the fixture `msrvtt`; running it takes ten seconds.
RECORDED = {
    "bleu1": 0.6773756677450652, "bleu2": 0.5855103543742906, "bleu3": 0.5444927403176527,
    "bleu4": 0.5217768307504825, "rouge": 0.6051746741871552,
}  # fmt: skip
RECORDED_CIDER = 0.3883074046037513


class KeptMeteor(Meteor):
    """The real one, which stays when a user closes it: Java takes eight seconds to start."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def kept_meteor() -> Iterator[None]:
    if shutil.which("java") is None:
        pytest.skip("needs Java: no `java` on the PATH")
    kept = KeptMeteor()
    with pytest.MonkeyPatch.context() as patch:
        for user in (measures, rewards):
            patch.setattr(user, "Meteor", lambda timeout: kept)
        yield
    Meteor.close(kept)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(GOLDEN["references"])


def test_golden_scores_of_twenty_captions(scorer: Scorer) -> None:
    found = scorer.score(GOLDEN["captions"], metrics=PYTHON)
    assert found.videos == 20
    assert found.unavailable == {}
    assert found.empty == ("quiet",)
    assert list(found.values) == ["bleu1", "bleu2", "bleu3", "bleu4", "rouge", "cider"]
    for name, value in found.values.items():
        assert value == pytest.approx(GOLDEN["values"][name], abs=1e-12), name
        for video, numbers in found.per_video.items():
            assert numbers[name] == pytest.approx(GOLDEN["per_video"][video][name], abs=1e-12), (name, video)


def test_a_scorer_gives_the_same_again_and_in_any_order_of_videos(scorer: Scorer) -> None:
    first = scorer.score(GOLDEN["captions"], metrics=PYTHON)
    assert scorer.score(dict(reversed(GOLDEN["captions"].items())), metrics=PYTHON) == first
    turned = Scorer(dict(reversed(GOLDEN["references"].items()))).score(GOLDEN["captions"], metrics=PYTHON)
    assert turned.values == pytest.approx(first.values, abs=1e-12)


def test_golden_meteor_and_java_tokenizer(kept_meteor: None) -> None:
    found = score(GOLDEN["captions"], GOLDEN["references"])
    assert found.unavailable == {}
    assert found.values == pytest.approx(GOLDEN["values"], abs=1e-12)
    for video, numbers in found.per_video.items():
        assert numbers == pytest.approx(GOLDEN["per_video"][video], abs=1e-12)
    java = Scorer(GOLDEN["references"], tokenizer="java")
    assert java.score(GOLDEN["captions"], metrics=PYTHON).values == {name: found.values[name] for name in java_names()}


def test_a_reward_is_the_meteor_of_the_scores(kept_meteor: None) -> None:
    references = {"one": ["A man runs.", "a man with a dog runs"], "two": ["man man sleeps"]}
    vocabulary = Vocabulary((*SPECIAL, "a", "man", "with"))
    with rewards.Rewards(references, vocabulary, cider=0.0, bleu4=0.0, meteor=1.0) as meant:
        found = meant.start(["one", "two"], [[4, 5, 6, 4], [5, 5, EOS]]).result()
    scores = score({"one": "a man with a", "two": "man man"}, references, metrics=("meteor",))
    expected = [scores.per_video[video]["meteor"] for video in references]
    assert min(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def java_names() -> list[str]:
    return [name for name in GOLDEN["values"] if name != "meteor"]


@pytest.fixture(scope="module")
def scn(shared_data: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    references: dict[str, list[str]] = {}
    for line in (shared_data / "msvd" / "captions" / "sents_test_lc_nopunc.txt").read_text().splitlines():
        video, caption = line.split("\t")
        references.setdefault(video, []).append(caption)
    lines = (shared_data / "metric_cases" / "scn_msvd_test_predictions.txt").read_text().splitlines()
    return {f"vid{1301 + number}": line for number, line in enumerate(lines)}, references


@pytest.mark.shared_data
def test_published_scores_of_a_published_system(
    scn: tuple[dict[str, str], dict[str, list[str]]], kept_meteor: None
) -> None:
    found = score(*scn)
    assert found.videos == 670
    assert {name: round(value, 3) for name, value in found.values.items()} == PUBLISHED


def assert_equal_to_the_reference(predictions: dict[str, str], references: dict[str, list[str]]) -> None:
    """BLEU and ROUGE-L to the last bit, CIDEr within rounding; the corpus and every video."""
    ours = score(predictions, references, metrics=PYTHON)
    theirs = score(predictions, references, metrics=PYTHON, reference=True)
    assert ours.unavailable == theirs.unavailable
    for mine, other in [
        (ours.values, theirs.values),
        *((ours.per_video[video], theirs.per_video[video]) for video in predictions),
    ]:
        assert list(mine) == list(other)
        assert mine.pop("cider", 0) == pytest.approx(other.pop("cider", 0), abs=1e-9)
        assert mine == other


@pytest.mark.shared_data
def test_a_published_system_scores_as_in_pycocoevalcap(scn: tuple[dict[str, str], dict[str, list[str]]]) -> None:
    predictions, references = scn
    some = list(references)[::5]
    assert_equal_to_the_reference(
        {video: predictions[video] for video in some}, {video: references[video] for video in some}
    )


@pytest.fixture(scope="module")
def msrvtt(shared_data: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What people wrote: half of the videos get one of their own captions cut short, half one of the video before."""
    recorded = json.loads((shared_data / "msrvtt" / "test_captions_sgn.json").read_text(encoding="utf-8"))
    references = {video: list(captions.values()) for video, captions in recorded.items()}
    first = [texts[0] for texts in references.values()]
    told = [first[row - 1] if row % 2 else text.rpartition(" ")[0] for row, text in enumerate(first)]
    return dict(zip(references, told, strict=True)), references


@pytest.mark.shared_data
def test_2990_times_20_references_score_as_pycocoevalcap_recorded(
    msrvtt: tuple[dict[str, str], dict[str, list[str]]],
) -> None:
    predictions, references = msrvtt
    assert len(references) == 2990
    assert {len(texts) for texts in references.values()} == {20}
    found = score(predictions, references, metrics=PYTHON).values
    assert found.pop("cider") == pytest.approx(RECORDED_CIDER, abs=1e-9)
    assert found == RECORDED


@pytest.mark.shared_data
def test_people_score_as_in_pycocoevalcap(msrvtt: tuple[dict[str, str], dict[str, list[str]]]) -> None:
    predictions, references = msrvtt
    some = list(references)[::10]
    assert_equal_to_the_reference(
        {video: predictions[video] for video in some}, {video: references[video] for video in some}
    )


TEXT = st.one_of(
    st.text(max_size=12),
    st.lists(
        st.sampled_from(["a", "man", "runs", "2 1/2", "\u00e9t\u00e9", "\u732b", "!", "\U0001f600"]), max_size=9
    ).map(" ".join),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=3)), min_size=1, max_size=4))
def test_any_text_scores_as_in_pycocoevalcap(pairs: list[tuple[str, list[str]]]) -> None:
    predictions = {f"v{row}": caption for row, (caption, _) in enumerate(pairs)}
    assert_equal_to_the_reference(predictions, {f"v{row}": ["a man", *texts] for row, (_, texts) in enumerate(pairs)})


@given(st.sampled_from("\t\n\r\x0b\x0c\x1c\x85\xa0\u2003\u2028\u2029"))
def test_white_space_inside_captions_changes_no_score(white: str) -> None:
    references = {"a": ["a man runs", "the man is running"], "b": ["a dog eats", "dog food"], "c": ["two cats"]}
    captions = {"a": "a man is running", "b": "a dog eats food", "c": "a cat"}
    plain = score(captions, references, metrics=PYTHON)
    swapped = score(
        {video: text.replace(" ", white) for video, text in captions.items()},
        {video: [text.replace(" ", white) for text in texts] for video, texts in references.items()},
        metrics=PYTHON,
    )
    assert swapped == plain


def test_a_perfect_caption_and_a_hand_worked_one() -> None:
    found = score(
        {"a": "a man runs very fast", "b": "the dog sleeps"},
        {"a": ["a man runs very fast"], "b": ["a dog eats"]},
        metrics=PYTHON,
    )
    assert found.per_video["a"]["bleu4"] == pytest.approx(1, abs=1e-6)
    assert found.per_video["a"]["rouge"] == pytest.approx(1)
    assert found.per_video["a"]["cider"] == pytest.approx(10)
    # "b" shares one word of three: P = R = 1/3, and so ROUGE-L is 1/3; its BLEU-1 is 1/3 too.
    assert found.per_video["b"]["rouge"] == pytest.approx(1 / 3)
    assert found.per_video["b"]["bleu1"] == pytest.approx(1 / 3)
    assert found.values["bleu1"] == pytest.approx(6 / 8)


@pytest.mark.parametrize("empty", ["", "  ", "\u2028", "...", "'", "\U0001f600"])
def test_an_empty_prediction_is_a_wrong_answer(empty: str) -> None:
    references = {"a": ["a man", "?"], "b": ["a dog"], "c": ["cats"]}
    found = score({"a": empty, "b": "a dog", "c": "cats"}, references, metrics=PYTHON)
    assert found.empty == ("a",)
    assert set(found.per_video["a"].values()) == {0.0}
    assert found.values["rouge"] == pytest.approx(2 / 3)
    assert score(dict.fromkeys(references, empty), references, metrics=PYTHON).values == dict.fromkeys(
        found.values, 0.0
    )


def test_cider_of_one_video_is_undefined_not_zero() -> None:
    found = score({"a": "a man runs"}, {"a": ["a man runs"]}, metrics=PYTHON)
    assert "cider" not in found.values
    assert "cider" not in found.per_video["a"]
    assert "undefined for a single video" in found.unavailable["cider"]
    assert found.values["rouge"] == 1


def test_other_videos_than_the_references_are_refused_with_both_differences() -> None:
    references = {f"v{number}": ["a man"] for number in range(9)}
    predictions = {**{f"v{number}": "a man" for number in range(2)}, "x": "a dog"}
    with pytest.raises(UserError) as caught:
        score(predictions, references, metrics=PYTHON)
    assert "7 videos have no prediction ('v2', 'v3', 'v4', 'v5', 'v6', ...)" in str(caught.value)
    assert "1 video has no reference ('x'): score those that have both with partial (--partial)" in str(caught.value)


@pytest.mark.parametrize("videos", [("a",), ("a", "b", "x")])
def test_one_difference_alone_is_refused_too(videos: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"^1 video has no (prediction \('b'\)|reference \('x'\)): score those"):
        score(dict.fromkeys(videos, "a man"), {"a": ["a man"], "b": ["a dog"]}, metrics=PYTHON)


def test_partial_scores_the_common_videos_as_if_there_were_no_others() -> None:
    left_out = ("ball", "song", "news")
    captions = {video: text for video, text in GOLDEN["captions"].items() if video not in left_out}
    found = score({**captions, "x": "a dog"}, GOLDEN["references"], metrics=PYTHON, partial=True)
    assert found.videos == 17
    assert found.without_prediction == left_out
    assert found.without_reference == ("x",)
    alone = {video: texts for video, texts in GOLDEN["references"].items() if video not in left_out}
    assert found.values == score(captions, alone, metrics=PYTHON).values
    with pytest.raises(
        UserError, match=r"no video has both a prediction and a reference: 20 videos have no prediction"
    ):
        score({"x": "a dog"}, GOLDEN["references"], partial=True)


@pytest.mark.parametrize("texts", [[], [""], ["?", " . "]])
def test_a_video_without_a_reference_is_refused(texts: list[str]) -> None:
    with pytest.raises(UserError, match="video 'b' has no reference with a word in it"):
        Scorer({"a": ["a man"], "b": texts})


def test_other_wrong_input_is_named() -> None:
    with pytest.raises(UserError, match="no video to score"):
        Scorer({})
    with pytest.raises(UserError, match="references of video 'a' must be a list of sentences, got 'a man'"):
        Scorer({"a": "a man"})
    with pytest.raises(UserError, match="no metric 'spider': choose among bleu, rouge, cider, meteor, spice"):
        score({"a": "b"}, {"a": ["b"]}, metrics=("bleu", "spider"))


def test_scoring_prints_nothing(scorer: Scorer, capfd: pytest.CaptureFixture[str]) -> None:
    scorer.score(GOLDEN["captions"], metrics=PYTHON)
    assert capfd.readouterr() == ("", "")


def test_works_without_torch_and_names_a_prediction_that_is_no_text() -> None:
    program = """
import sys
from stg.metrics.scorer import score
assert not {"torch", "torch_geometric", "torchvision"} & sys.modules.keys(), "a heavy import"
try:
    score({"a": None, "b": "x"}, {"a": ["b"], "b": ["x"]}, metrics=("bleu",))
except Exception as error:
    print(type(error).__name__, error)
score({"a": "b", "b": "x"}, {"a": ["b"], "b": ["x"]}, metrics=("bleu", "rouge", "cider"))
assert "torch" not in sys.modules
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert ended.stdout == "UserError the prediction of video 'a' must be one sentence, got None\n"
