"""Score the answers, or the captions, that a model gives to a bench."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stg.benchmark.questions import IN_TIME, KINDS, Answer, Bench, read_answers
from stg.datasets.world.phrases import NOUNS
from stg.datasets.world.scores import parted, verb_of
from stg.evaluation.predictions import clip_id, read_predicted
from stg.metrics.bootstrap import resampled_sums
from stg.runtime.errors import UserError
from stg.runtime.reading import counted, number, read_json_lines, shown, some
from stg.text.tokenizer import tokenize

CAPTION_SCORES: Mapping[str, str] = {
    "event": "captions that name the event, by any of its phrases",
    "roles": "of events with two objects: who acts stands before the verb, who is acted on behind it",
    "silence": "clips in which nothing happens whose caption names no event",
}
"""Score of captions -> what it counts."""


def score_file(bench: Bench, path: str | Path, *, name: str | None = None, samples: int = 1000) -> dict[str, Any]:
    """Score a file of answers (`stg.benchmark.questions.read_answers`) or of captions (`read_predicted`).

    Args:
        bench: what the model was asked.
        path: the file; JSON lines with the key ``id`` are answers.
        name: of the row; that of the file by default.
        samples: how many times the clips are resampled, for the intervals.

    Returns:
        what :func:`score_answers` or :func:`score_captions` finds, with the ``name``.

    Raises:
        UserError: the file cannot be read, or is of another bench; names the file and the line.
    """
    path = Path(path)
    if _holds_answers(path):
        found = score_answers(bench, read_answers(path, bench), samples=samples)
    else:
        captions = read_predicted(path)
        if strange := [video for video in captions if video not in bench.captions]:
            raise UserError(
                f"{path} has captions of {some(strange)}, no clips of {bench.folder}, whose names are like "
                f"{shown(bench.videos[0])}: are these captions of another bench?"
            )
        found = score_captions(bench, captions, samples=samples)
        if path.suffix == ".jsonl":
            found["likelihood"] = score_likelihoods(bench, path, found["right"])
    return {"name": name or path.stem, **found}


def _holds_answers(path: Path) -> bool:
    if path.suffix != ".jsonl":
        return False
    first = next((row for _, row in read_json_lines(path)), None)
    # An empty file is refused as one of answers.
    return first is None or (isinstance(first, dict) and "video" not in first and "image_id" not in first)


def score_answers(bench: Bench, answers: Mapping[str, Answer], *, samples: int = 1000) -> dict[str, Any]:
    """Accuracy by kind, with the 95 % interval of a bootstrap over clips; twins; clips and their reverse.

    A question without an answer counts as a wrong one, but kinds without any are left out.

    Returns:
        ``kinds``: for each kind ``accuracy``, ``low``, ``high``, ``chance``, ``questions``, ``answered``, and
        ``twins``, the share of pairs in which both questions are right; ``mean`` over these kinds; ``in_time``, the
        mean over those of `stg.benchmark.questions.IN_TIME`, which no single frame answers; ``consistency``, the share
        of the clips with a reverse in which the two answers differ, as they should; ``examples``; ``notes``.
    """
    chosen = {name: answer.choice for name, answer in answers.items()}
    right = {one.id: chosen.get(one.id) == bench.key[one.id].answer for one in bench.questions}
    kinds, notes = dict[str, dict[str, Any]](), list[str]()
    for name in KINDS:
        asked = [one for one in bench.questions if one.kind == name]
        answered = sum(chosen.get(one.id) is not None for one in asked)
        if not answered:
            if asked:
                notes.append(f"no answers to the {counted(len(asked), 'question')} of kind {name}: it is left out")
            continue
        if answered < len(asked):
            notes.append(f"{name}: {len(asked) - answered} of {len(asked)} questions without an answer count as wrong")
        pairs = {frozenset({one.id, pair}) for one in asked if (pair := bench.key[one.id].pair) is not None}
        kinds[name] = {
            **_share([right[one.id] for one in asked], samples),
            "chance": float(np.mean([1 / len(one.choices) for one in asked])),
            "answered": answered,
            "twins": sum(all(right[one] for one in pair) for pair in pairs) / len(pairs) if pairs else None,
        }
    if not kinds:
        raise UserError("none of the answers decides for a choice: all scores are equal")
    timed = [found["accuracy"] for name, found in kinds.items() if name in IN_TIME]
    reversed_ = {
        frozenset({one.id, one.pair}) for one in bench.key.values() if one.twin == "reversed" and one.pair is not None
    }
    both = [[chosen[one] for one in pair] for pair in reversed_ if all(chosen.get(one) is not None for one in pair)]
    return {
        "of": "answers",
        "kinds": kinds,
        "mean": float(np.mean([found["accuracy"] for found in kinds.values()])),
        "in_time": float(np.mean(timed)) if timed else None,
        "consistency": sum(one != other for one, other in both) / len(both) if both else None,
        "examples": [
            {
                "video": one.video,
                "asked": one.question,
                "answer": one.choices[choice],
                "truth": one.choices[bench.key[one.id].answer],
            }
            for one in bench.questions
            if (choice := chosen.get(one.id)) is not None
        ],
        "notes": notes,
    }


def score_captions(bench: Bench, captions: Mapping[str, str], *, samples: int = 1000) -> dict[str, Any]:
    """Whether captions name the event, and who does it to whom: :data:`CAPTION_SCORES`.

    A clip without a caption counts as a wrong one.

    Returns:
        ``kinds``: for each score ``accuracy``, ``low``, ``high``, ``questions`` (clips); ``right``: for each clip that
        has a caption, whether it names the event (or none, where none is); ``mean``, ``examples``, ``notes``.
    """
    found: dict[str, list[bool]] = {name: [] for name in CAPTION_SCORES}
    examples = []
    for video, truths in bench.captions.items():
        caption, truth = captions.get(video), truths[0]
        verb = verb_of(truth)
        said = None if caption is None else verb_of(caption)
        if verb is None:
            found["silence"].append(caption is not None and said is None)
        else:
            found["event"].append(said == verb)
            actor, target = parts_of(truth)
            if target:
                found["roles"].append(caption is not None and roles_are_right(caption, actor, target))
        if caption is not None:
            examples.append({"video": video, "asked": "caption", "answer": caption, "truth": truth})
    missing = [video for video in bench.captions if video not in captions]
    kinds = {name: _share(values, samples) for name, values in found.items() if values}
    return {
        "of": "captions",
        "kinds": kinds,
        "right": {video: names_event(bench, video, caption) for video, caption in captions.items()},
        "mean": float(np.mean([one["accuracy"] for one in kinds.values()])),
        "examples": examples,
        "notes": [f"{counted(len(missing), 'clip')} without a caption count as wrong"] if missing else [],
    }


def names_event(bench: Bench, video: str, caption: str) -> bool:
    """Whether a caption names what happens in a clip, or nothing where nothing does."""
    return verb_of(caption) == verb_of(bench.captions[video][0])


def score_likelihoods(bench: Bench, path: Path, right: Mapping[str, bool]) -> dict[str, Any] | None:
    """What the log-probabilities that a model gives with its captions are worth; None where it gives none.

    Args:
        bench: whose captions.
        path: of JSON lines; those with ``truth_log_probs``, one for each true caption in the order of the bench, and
            with ``log_prob``, of the model's own caption, count. Natural logarithms of whole captions, the end
            included.
        right: whether each of the model's captions names the event.

    Returns:
        ``truth``: log-probability of the true captions a word, the end counted as one, over ``truth_clips``; ``sure``:
        how often a right caption has a higher ``log_prob`` than a wrong one (ties half), 1 at best, .5 by chance; None
        where there are none of either.

    Raises:
        UserError: not a finite number for each caption; names the line.
    """
    total, words, clips = 0.0, 0, 0
    sure: dict[bool, list[float]] = {True: [], False: []}
    for where, row in read_json_lines(path):
        video = clip_id(str(row["video"]))
        if row.get("error") is not None:
            continue
        truths = bench.captions[video]
        if (given := row.get("truth_log_probs")) is not None:
            if not isinstance(given, list) or len(given) != len(truths) or any(number(one) is None for one in given):
                raise UserError(f"{where}: 'truth_log_probs' must be {len(truths)} finite numbers, one a true caption")
            total, clips = total + sum(given), clips + 1
            words += sum(len(tokenize(text)) + 1 for text in truths)
        if (own := row.get("log_prob")) is not None:
            if number(own) is None:
                raise UserError(f"{where}: 'log_prob' must be a finite number, got {own!r:.60}")
            sure[right[video]].append(float(own))
    if not clips and not any(sure.values()):
        return None
    better = np.subtract.outer(sure[True], sure[False])
    return {
        "truth": total / words if clips else None,
        "truth_clips": clips,
        "sure": float(((better > 0) + 0.5 * (better == 0)).mean()) if better.size else None,
    }


def _share(values: Sequence[bool], samples: int) -> dict[str, Any]:
    sums = resampled_sums(np.array(values, np.float64)[:, None], samples, 0)[:, 0] / len(values)
    low, high = np.percentile(sums, [2.5, 97.5])
    return {"accuracy": float(np.mean(values)), "low": float(low), "high": float(high), "questions": len(values)}


_SHAPE = {noun: shape for shape, nouns in NOUNS.items() for noun in nouns}


def parts_of(caption: str) -> tuple[frozenset[str], frozenset[str]]:
    """Words before and behind the phrase of a caption that names an event, synonyms of shapes made one."""
    before, _, behind = parted(caption)
    one, other = (frozenset(_SHAPE.get(word, word) for word in part.split()) for part in (before, behind))
    return one, other


def roles_are_right(caption: str, actor: frozenset[str], target: frozenset[str]) -> bool:
    """Whether the words before the verb are those of the actor rather than those of the target, and behind it not."""
    before, behind = parts_of(caption)
    one, other = actor - target, target - actor
    return len(before & one) > len(before & other) and len(behind & other) > len(behind & one)


def markdown(record: Mapping[str, Any]) -> list[str]:
    """Heading, rule and row of a table in Markdown: each share in per cent with its interval; twins where there are."""
    titles, cells = ["model"], [str(record["name"]).replace("|", "\\|")]
    for name, found in record["kinds"].items():
        titles.append(name)
        cells.append(f"{_percent(found['accuracy'])} ({_percent(found['low'])}-{_percent(found['high'])})")
        if found.get("twins") is not None:
            titles.append(f"{name}, both twins")
            cells.append(_percent(found["twins"]))
    if record.get("consistency") is not None:
        titles.append("reverse differs")
        cells.append(_percent(record["consistency"]))
    likelihood = record.get("likelihood") or {}
    if likelihood.get("truth") is not None:
        titles.append("log-likelihood of the truth, a word")
        cells.append(f"{likelihood['truth']:.3f}")
    if likelihood.get("sure") is not None:
        titles.append("surer of right captions")
        cells.append(_percent(likelihood["sure"]))
    if record.get("in_time") is not None:
        titles.append("mean of kinds in time")
        cells.append(_percent(record["in_time"]))
    titles.append("mean")
    cells.append(_percent(record["mean"]))
    return [f"| {' | '.join(row)} |" for row in (titles, ["---", *["---:"] * (len(titles) - 1)], cells)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
