"""The page of a run: how it was trained, what it wrote, how good that is, and the ablations that it is part of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from stg.config.schema import differences, to_dict
from stg.config.training import FitConfig
from stg.metrics.columns import EVENTS, HEADINGS, heading
from stg.pages.html import render
from stg.pages.run.ablations import read_ablation
from stg.pages.run.captions import Pictures, choose, histories, written
from stg.pages.run.curves import Clock, curves, decimal, numbers
from stg.pages.run.record import RunRecord, read_run
from stg.pages.run.reliability import reliability_charts
from stg.pages.run.views import Grid, Missing, RunPage
from stg.runs.evaluations import Evaluation
from stg.runs.model_file import MODEL_FILE, WHOLE_FILE
from stg.runtime.files import page_file, without_places, write_atomic
from stg.runtime.reading import counted, number
from stg.text.tagging import Tagger, pick_tagger

BRANCHES = {
    "full": "scene and object branch, the scene branch captions",
    "scene": "scene branch alone",
    "object": "object branch alone",
    "concat": "both branches, side by side",
    "joint": "one decoder attends to the scene and to the objects",
    "l2": "scene and object branch, features drawn together",
}
STATUS = {
    "running": "not finished: it is running, or was killed; the same command resumes",
    "preempted": "stopped; the same command resumes",
    "failed": "failed",
    "finished": "finished",
}


def write_run_page(out: str | Path, page: RunPage) -> Path:
    """Write the page of a run; returns its file.

    Args:
        out: the file, ``run.html``; a name without ``.html`` is a folder, made if need be, that gets ``index.html``.
        page: as `run_view` gives it.

    Raises:
        UserError: ``out`` cannot be a file.
    """
    file = page_file(Path(out))
    write_atomic(file, run_html(page))
    return file


def run_html(page: RunPage) -> str:
    """One self-contained page of a run of `stg.fit`: it needs no network, no other file, and no script."""
    return render("run.html", page=page)


def run_view(
    folder: str | Path,
    *,
    ablations: Sequence[str | Path] = (),
    split: str = "val",
    search: str | None = None,
    dataset: str = "",
    references: Mapping[str, Sequence[str]] | None = None,
    pictures: Pictures | None = None,
    tagger: Tagger | Literal["auto", "spacy", "lexicon"] = "auto",
    shown: int = 8,
) -> RunPage:
    """What the page of a run shows, as plain values.

    A run that still trains, or has no evaluation yet, has its page, too: what is missing is named with the command
    that makes it. Of absolute paths only the last part is shown.

    Args:
        folder: of the run.
        ablations: folders of `stg.ablate` or `stg.probe`, or their ``table.json``.
        split, search: which evaluation's captions are shown, as `stg.evaluate` names them; None takes one that is not
            greedy where there is one.
        dataset: of a run that has learned from several, which one's captions are shown; empty: the first.
        references: video -> what people said of it, for the best and the worst videos.
        pictures: video -> a few frames as ``data:`` addresses, of the best and the worst videos.
        tagger: of the word report.
        shown: how many best and how many worst videos.

    Raises:
        UserError: no run folder, no ablation, files that another program wrote, or no such search.
    """
    run = read_run(folder)
    evaluation = choose([one for one in run.evaluations if one.dataset == dataset], split, search)
    missing = _missing(run, split, dataset, evaluation)
    captions, left_out = histories(run, references)
    return RunPage(
        title=run.name,
        lead=_lead(run),
        facts=_facts(run),
        warnings=_warnings(run),
        charts=curves(run),
        numbers=numbers(run),
        histories=captions,
        scores=_score_grid(run.evaluations),
        reliability=reliability_charts(run.calibrations),
        # The tagger is chosen, and perhaps spaCy loaded, only where there are captions to tag.
        written=None
        if evaluation is None
        else written(
            evaluation,
            references=references,
            tagger=pick_tagger(tagger) if isinstance(tagger, str) else tagger,
            pictures=pictures,
            shown=shown,
        ),
        ablations=tuple(read_ablation(place) for place in ablations),
        settings=_settings(run.config),
        missing=missing,
        left_out={"histories": left_out},
    )


def _lead(run: RunRecord) -> str:
    config = run.config
    data = "the built-in world of moving objects" if config.data.dataset == "world" else " and ".join(config.data.sets)
    lead = f"A captioner trained on {data}: {BRANCHES.get(config.model.branches, config.model.branches)}"
    if config.model.branches != "scene":
        lead += f", graph with {config.graph.variant} edges"
    control = " Trained on shuffled features, as a control." if config.run.control == "shuffle" else ""
    return f"{lead}; decoder {config.model.decoder}.{control}"


def _facts(run: RunRecord) -> tuple[tuple[str, str], ...]:
    config, status = run.config, str(run.state.get("status", ""))
    facts = [("status", STATUS.get(status, status or "not begun: no state was saved"))]
    if run.best is not None:
        name = "CIDEr" if "cider" in run.best else "BLEU-4"
        value = run.best.get("cider", run.best.get("bleu4"))
        facts.append(("best on validation", f"{Clock.named(run.best)}, {name} {decimal(value)}"))
    # Distinct epochs, so that one logged twice counts once.
    done = len({number(row.get("epoch")) for row in run.validations if (number(row.get("epoch")) or 0) >= 0})
    facts.append(("epochs", f"{done} of {config.optim.epochs}"))
    facts.append(("seed", str(config.run.seed)))
    if config.data.dataset == "world":
        world = config.world
        facts.append(("videos", f"{world.train} to train, {world.val} to validate, {world.test} to test"))
    if MODEL_FILE in run.weights:
        # A branch that only teaches is dropped from the model that captions: two sizes.
        trained = run.weights.get(WHOLE_FILE, 0)
        captions = f"{run.weights[MODEL_FILE] / 1e6:.2f}M"
        facts.append(("weights", captions + (f" to caption, {trained / 1e6:.2f}M to train" if trained else "")))
    if run.began:
        facts.append(("log", f"{run.began} to {run.ended}"))
    # The page may be published: no path of this machine goes into it.
    return tuple((name, without_places(value)) for name, value in facts)


def _warnings(run: RunRecord) -> tuple[str, ...]:
    warnings = []
    if error := run.state.get("error"):
        warnings.append(f"The run failed: {without_places(error)[:600]}")
    if run.unread:
        warnings.append(f"{counted(run.unread, 'line')} of metrics.jsonl could not be read: the page is without.")
    if run.broken:
        warnings.append(
            f"{counted(len(run.broken), 'step', 'was', 'were')} not applied: loss or gradient was not finite."
        )
    return tuple(warnings)


def _missing(run: RunRecord, split: str, dataset: str, evaluation: Evaluation | None) -> dict[str, Missing | None]:
    go_on = f"python -m stg.fit --run.out {run.shown}"
    evaluate = f"python -m stg.evaluate {run.shown}"
    trained = MODEL_FILE in run.weights
    parts = ("curves", "numbers", "histories", "scores", "reliability", "written", "ablations")
    # A value of None: the part is on the page. Otherwise the first thing that it lacks, and the command that makes it.
    missing: dict[str, Missing | None] = dict.fromkeys(parts)
    if not run.steps and not run.validations:
        missing["curves"] = Missing("No step is logged yet.", go_on)
    elif not run.validations:
        missing["numbers"] = Missing("No epoch is done yet, so that nothing was validated.", go_on)
    if not any(row.get("samples") for row in run.validations):
        which = "--run.samples 5" if run.config.run.samples == 0 else ""
        what = "No captions of validation videos were kept" + (": run.samples is 0." if which else " yet.")
        missing["histories"] = Missing(what, f"{go_on} {which}".strip())
    if not run.evaluations:
        why = "Nothing was evaluated yet." if trained else "There is no trained model yet to evaluate."
        missing["scores"] = Missing(why, evaluate if trained else go_on)
    elif not any(one.record for one in run.evaluations):
        missing["scores"] = Missing("There are captions and no scores: those of people are withheld.")
    if not run.calibrations:
        why = "The confidence of these weights is not calibrated; that takes captions of 20 validation videos."
        missing["reliability"] = Missing(why, f"{evaluate} --split val" if trained else go_on)
    if evaluation is None:
        of = (f" of {dataset}", f" --dataset {dataset}") if dataset else ("", "")
        why = f"{split}{of[0]} was not captioned yet."
        missing["written"] = Missing(why, f"{evaluate} --split {split}{of[1]}" if trained else go_on)
    missing["ablations"] = Missing("No ablation table was given.", "python -m stg.ablate graph")
    return missing


def _score_grid(evaluations: Sequence[Evaluation]) -> Grid | None:

    scored = [one for one in evaluations if one.record]
    if not scored:
        return None
    # Scores of events are in a file of their own, which only the built-in world has.
    found: list[dict[str, Any]] = []
    for one in scored:
        events = one.events.get("scores", {})
        found.append({**one.record.get("scores", {}), **{name: events[name] for name in EVENTS if name in events}})
    heads = {name: head for name, head in HEADINGS.items() if any(name in scores for scores in found)}
    lines = tuple(
        (
            one.title + (", shuffled" if one.record.get("control") == "shuffle" else ""),
            str(one.record.get("videos", "-")),
            *(decimal(scores.get(name)) for name in heads),
            str(one.record.get("broken_endings", "-")),
        )
        for one, scores in zip(scored, found, strict=True)
    )
    # A set: all searches lack a metric for the same reason.
    reasons = {
        f"{heading(metric)}: {without_places(reason)}."
        for one in scored
        for metric, reason in (one.record.get("unavailable") or {}).items()
    }
    note = "Fractions, as COCO's code computes them; papers print them times 100. " + " ".join(sorted(reasons))
    heads_shown = ("split, search", "videos", *heads.values(), "broken endings")
    return Grid("Scores of all evaluations", heads_shown, lines, note=note.strip())


def _settings(config: FitConfig) -> tuple[Grid, ...]:
    """What differs from the defaults, and all of it."""
    # The defaults are those of this version, which need not be those the run was started with.
    usual, chosen = to_dict(FitConfig()), to_dict(config)
    differing = [(key, *map(_value, pair)) for key, pair in differences(usual, chosen).items()]
    return (
        Grid("Settings that are not the default", ("setting", "default", "here"), tuple(differing), numeric=0),
        Grid(
            "All settings",
            ("setting", "value"),
            tuple((key, _value(value)) for key, value in _flat(chosen).items()),
            numeric=0,
        ),
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _value(value: Any) -> str:
    return (
        "none"
        if value is None
        else without_places(", ".join(map(str, value)) if isinstance(value, list | tuple) else value)
    )
