"""The ablation tables: their rows as settings, each a step away from another row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stg.ablation.published import PAN3, STATS1, STATS2, VATEX1, Published


@dataclass(frozen=True)
class TableRow:
    """One row.

    Args:
        title: as the paper prints it.
        settings: dotted name -> value, added to those of the table.
        against: the row that it differs from in one setting, or in what the papers change at once; empty for the row
            that all begins with.
        teacher: the row whose model of the same seed teaches it (run.teacher).
        baseline: the row that the teacher must beat on validation (teacher.baseline); controls ask for none.
        start: the row whose model of the same seed it goes on from (run.start).
        fused: rows among whose captions, of the same seed, an embedding chooses: no model of its own is trained.
    """

    title: str
    settings: Mapping[str, Any]
    against: str = ""
    teacher: str = ""
    baseline: str = ""
    start: str = ""
    fused: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The rows whose runs of the same seed must be done first."""
        return tuple(filter(None, (self.teacher, self.baseline, self.start, *self.fused)))


@dataclass(frozen=True)
class Table:
    """Rows that are trained alike but for one setting.

    Args:
        title: one line.
        reference: the row that the others are judged by.
        rows: name -> row, in the order in which they are printed.
        base: settings of every row, unless the row has another value; the user cannot change them.
        unless_given: settings of every row that the user can change.
        published: figures of the papers.
        notes: what a reader must know: departures, rows of the paper that are not here.
    """

    title: str
    reference: str
    rows: Mapping[str, TableRow]
    base: Mapping[str, Any] = field(default_factory=dict)
    unless_given: Mapping[str, Any] = field(default_factory=dict)
    published: Sequence[Published] = ()
    notes: Sequence[str] = ()

    def settings(self, row: str) -> dict[str, Any]:
        """Dotted name -> value of all that the table sets in a row."""
        return {**self.base, **self.rows[row].settings}

    def described(self, row: str) -> dict[str, Any]:
        """All by which a row is told from others: its settings, and the rows that it has its teacher, its first weights
        or its captions from."""
        found = self.rows[row]
        if found.fused:
            return {"fused": " + ".join(found.fused)}
        others = {"run.teacher": found.teacher, "run.start": found.start}
        return self.settings(row) | {key: name for key, name in others.items() if name}


# Cherian et al. have one branch, no graph and no distillation.
_SCENE_STATS = {"model.decoder": "stats", "model.branches": "scene"}
_PLACES = {"model.stats.scene_streams": ("regions",)}
_TEMPORAL = "model.stats.st.temporal"
_MEMORY = "model.attention_lstm.memory"

_NO_LAYERS: Mapping[str, Any] = {"graph.track_layers": 0}
_SCENE: Mapping[str, Any] = {"model.branches": "scene", "model.readout": "frames"}


def _taught(title: str, against: str = "constant", **changes: Any) -> TableRow:
    """A scene branch that learns from the teacher of the table; ``changes``: section_name=value."""
    settings = {key.replace("_", ".", 1): value for key, value in changes.items()}
    return TableRow(title, {**_SCENE, **settings}, against, teacher="joint", baseline="none")


def _rewarded(row: str) -> TableRow:
    """A row of the attention LSTM that goes on from another one's run, and learns from rewards."""
    settings = {_MEMORY: row, "reward.weight": 0.9, "reward.from_epoch": 0}
    return TableRow(f"{row} attention, RL", settings, row, start=row)


TABLES: Mapping[str, Table] = {
    "pan3": Table(
        title="two branches, distillation and the edges of the graph (Pan et al., Table 3)",
        reference="full",
        base={"model.branches": "full", "graph.variant": "full"},
        rows={
            "scene": TableRow("Scene Branch Only", {"model.branches": "scene"}, "full"),
            "concat": TableRow("Two Branch + Concat", {"model.branches": "concat"}, "full"),
            "l2": TableRow("Two Branch + L2", {"model.branches": "l2"}, "full"),
            "spatial": TableRow("Spatial Graph Only", {"graph.variant": "spatial"}, "full"),
            "temporal": TableRow("Temporal Graph Only", {"graph.variant": "temporal"}, "full"),
            "dense": TableRow("Dense Graph", {"graph.variant": "dense"}, "full"),
            "full": TableRow("Our Full Model", {}),
        },
        published=PAN3,
        notes=(
            "The weight of the L2 loss is that of the distillation (loss.distill_weight), as the paper names no other.",
            "Concat joins the branches on channels (model.concat_axis); it alone needs objects at test time.",
            "The other rows caption with the scene branch alone: the object branch teaches and is dropped.",
        ),
    ),
    "stats1": Table(
        title="space then time, time then space, or both (STaTS, Table 1)",
        reference="STaTS",
        base={**_SCENE_STATS, "model.stats.order": "stats"},
        unless_given=_PLACES,
        rows={
            "ST": TableRow("ST", {"model.stats.order": "st"}, "STaTS"),
            "TS": TableRow("TS", {"model.stats.order": "ts"}, "STaTS"),
            "STaTS": TableRow("STaTS", {}),
        },
        published=STATS1,
        notes=(
            "Places are the detected objects (model.stats.scene_streams [regions]) unless another stream is asked for; "
            "the presets stats_msvd_i3d and stats_msrvtt_i3d ask for I3D's grid.",
        ),
    ),
    "stats2": Table(
        title="how spatio-temporal attention goes through time (STaTS, Table 2)",
        reference="Mean",
        base={**_SCENE_STATS, "model.stats.order": "st", _TEMPORAL: "mean"},
        unless_given=_PLACES,
        rows={
            "Mean": TableRow("Mean Pool", {}),
            "LSTM": TableRow("LSTM", {_TEMPORAL: "lstm"}, "Mean"),
            "Mean+LSTM": TableRow("Mean + LSTM", {_TEMPORAL: "mean+lstm"}, "Mean"),
            "TempAtt": TableRow("Temp Att", {_TEMPORAL: "temp_att"}, "Mean"),
            "Mean+TempAtt": TableRow("Mean + Temp Att", {_TEMPORAL: "mean+temp_att"}, "Mean"),
            "Ranked": TableRow("Ranked Att", {_TEMPORAL: "ranked"}, "Mean"),
            "Mean+Ranked": TableRow("Mean + Ranked Att", {_TEMPORAL: "mean+ranked"}, "Mean"),
        },
        published=STATS2,
        notes=(
            "Places are the detected objects (model.stats.scene_streams [regions]) unless another stream is asked for; "
            "the preset stats_msrvtt_i3d_st asks for I3D's grid.",
            "The ranked rows add the ranking loss (loss.rank_weight), which comes with that attention.",
        ),
    ),
    "vatex1": Table(
        title="what the two-layer attention LSTM attends to (Chen et al., Table 1)",
        reference="vanilla",
        base={
            "model.decoder": "attention_lstm",
            "model.branches": "scene",
            _MEMORY: "none",
            "reward.weight": 0.0,
            "reward.from_epoch": 10,
        },
        rows={
            "vanilla": TableRow("vanilla", {}),
            "temporal": TableRow("temporal attention", {_MEMORY: "temporal"}, "vanilla"),
            "spatial": TableRow("spatial attention", {_MEMORY: "spatial"}, "vanilla"),
            "temporal-rl": _rewarded("temporal"),
            "spatial-rl": _rewarded("spatial"),
            "fused": TableRow("temporal + spatial, RL", {}, "temporal-rl", fused=("temporal-rl", "spatial-rl")),
        },
        published=VATEX1,
        notes=(
            "The rows with RL go on from the run of the same seed without, and learn from rewards from the first epoch "
            "on: they differ from it in reward.weight, reward.from_epoch and in what they begin with.",
            "The last row trains no captioner. A video-text embedding, trained on the same data (preset "
            "vatex_embedding), chooses among the captions of the two runs with RL (preset vatex_fused); its epoch is "
            "chosen on validation, as theirs are. Its minutes are those of the embedding. It has no control.",
            "The paper's introduction has CIDEr 88.4 on validation for the last row.",
        ),
    ),
    "graph": Table(
        title="the object branch alone, edge by edge, next to the scene branch alone (ours)",
        reference="scene",
        base={"model.branches": "object", "graph.variant": "none"},
        rows={
            "scene": TableRow("Scene Branch Only", {"model.branches": "scene"}),
            "none": TableRow("Objects, no edges", {}, "scene"),
            "spatial": TableRow("Objects, spatial edges", {"graph.variant": "spatial"}, "none"),
            "temporal": TableRow("Objects, temporal edges", {"graph.variant": "temporal"}, "none"),
            "dense": TableRow("Objects, all pairs", {"graph.variant": "dense"}, "none"),
            "full": TableRow("Objects, spatial and temporal edges", {"graph.variant": "full"}, "none"),
        },
        notes=(
            "What the graph itself can see: the branch that reads it writes the captions. The scene branch reads no "
            "graph, so its graph.variant says nothing; rows with edges differ from the scene branch in two settings "
            "and from the row without edges in one.",
        ),
    ),
    "graph2": Table(
        title="one decoder that attends to the scene and to the tracks of a graph, mechanism by mechanism (ours)",
        reference="scene",
        base={
            "model.branches": "joint",
            "model.readout": "tracks",
            "graph.variant": "none",
            "graph.conv": "typed",
            "graph.layers": 0,
            "graph.box": "linear",
            "graph.motion": True,
            "graph.track_layers": 1,
            "graph.track_geometry": "contact",
            "loss.word_weight": 1.0,
            "run.control": "none",
        },
        rows={
            "scene": TableRow(
                "Scene Branch Only", {"model.branches": "scene", "model.readout": "frames", **_NO_LAYERS}
            ),
            "frames": TableRow("+ means of frames", {"model.readout": "frames", **_NO_LAYERS}, "scene"),
            "nodes": TableRow("+ each object", {"model.readout": "nodes", **_NO_LAYERS}, "frames"),
            "tracks": TableRow("+ each track", _NO_LAYERS, "nodes"),
            "none": TableRow("+ relations, no edges", {}, "tracks"),
            "no-motion": TableRow("+ relations, no edges, no motion", {"graph.motion": False}, "none"),
            "no-boxes": TableRow(
                "+ relations, no edges, no motion, no boxes", {"graph.motion": False, "graph.box": "none"}, "no-motion"
            ),
            "spatial": TableRow("+ spatial edges", {"graph.variant": "spatial"}, "none"),
            "no-words": TableRow(
                "+ spatial edges, no loss on words", {"graph.variant": "spatial", "loss.word_weight": 0.0}, "spatial"
            ),
            "far": TableRow(
                "+ spatial edges, relative geometry",
                {"graph.variant": "spatial", "graph.track_geometry": "relative"},
                "spatial",
            ),
            "edges-shuffled": TableRow(
                "+ spatial edges, shuffled", {"graph.variant": "spatial", "run.control": "edges"}, "spatial"
            ),
            "temporal": TableRow("+ temporal edges", {"graph.variant": "temporal"}, "none"),
            "full": TableRow("+ spatial and temporal edges", {"graph.variant": "full"}, "none"),
            "object": TableRow(
                "Spatial edges, no scene", {"graph.variant": "spatial", "model.branches": "object"}, "spatial"
            ),
        },
        notes=(
            "Every row but the first reads objects at test time. The rows from tracks on read tracks: a store "
            "without gets them by python -m stg.store tracks. The preset stg_world is such a model.",
        ),
    ),
    "families": Table(
        title="the models of the three papers, trained alike, and ours",
        reference="scene",
        base={
            "model.branches": "scene",
            "model.decoder": "transformer",
            "model.stats.order": "stats",
            _MEMORY: "temporal",
            "loss.word_weight": 0.0,
        },
        rows={
            "scene": TableRow("Pan et al., Scene Branch Only", {}),
            "full": TableRow("Pan et al., full", {"model.branches": "full"}, "scene"),
            "words": TableRow("ours: scene, loss on words", {"loss.word_weight": 1.0}, "scene"),
            "STaTS": TableRow("Cherian et al., STaTS", {"model.decoder": "stats"}, "scene"),
            "ST": TableRow("Cherian et al., ST", {"model.decoder": "stats", "model.stats.order": "st"}, "STaTS"),
            "TS": TableRow("Cherian et al., TS", {"model.decoder": "stats", "model.stats.order": "ts"}, "STaTS"),
            "temporal": TableRow("Chen et al., temporal attention", {"model.decoder": "attention_lstm"}, "scene"),
            "spatial": TableRow(
                "Chen et al., spatial attention", {"model.decoder": "attention_lstm", _MEMORY: "spatial"}, "temporal"
            ),
            "vanilla": TableRow(
                "Chen et al., vanilla", {"model.decoder": "attention_lstm", _MEMORY: "none"}, "temporal"
            ),
        },
        notes=(
            "All rows are trained by the settings of one preset, not of their papers: what differs is the model. STaTS "
            "attends to frames; the spatial row to detected objects.",
        ),
    ),
    "distillation": Table(
        title="what a scene branch learns from a frozen teacher that reads scene and tracks, by schedule (ours)",
        reference="joint",
        base={
            "model.branches": "joint",
            "model.readout": "tracks",
            "loss.distill_weight": 4.0,
            "loss.kl": "student_teacher",
            "loss.temperature": 1.0,
            "teacher.what": "logits",
            "teacher.weight": 1.0,
            "teacher.schedule": "constant",
            "teacher.where": "all",
        },
        unless_given={
            "graph.variant": "spatial",
            "graph.layers": 0,
            "graph.conv": "typed",
            "graph.box": "linear",
            "graph.motion": True,
            "graph.track_layers": 1,
            "graph.track_geometry": "contact",
            "loss.word_weight": 1.0,
        },
        rows={
            "joint": TableRow("Teacher: scene and tracks", {}, "none"),
            "none": TableRow("Scene Branch Only", _SCENE),
            "eq8": TableRow("Two branches trained together (Eq. 8)", {"model.branches": "full"}, "none"),
            "constant": _taught("Taught, weight 1", "none"),
            "quarter": _taught("Taught, weight .25", teacher_weight=0.25),
            "decay": _taught("Taught, weight falling to 0", teacher_schedule="decay"),
            "rise": _taught("Taught, weight rising from 0", teacher_schedule="rise"),
            "better": _taught("Taught where the teacher is better", teacher_where="better"),
            "warm": _taught("Taught, temperature 2", loss_temperature=2.0),
            "reversed": _taught("Taught, KL(teacher, student)", loss_kl="teacher_student"),
            "features": _taught("Taught by features", teacher_what="features"),
            "relations": _taught("Taught by relations", teacher_what="relations"),
        },
        notes=(
            "Every row but the teacher captions with the scene branch alone. Each seed has a teacher of its own, which "
            "is trained first and must beat the scene branch of that seed on validation: rows are refused otherwise. "
            "Preset stg_world (or another model with model.branches joint and model.readout tracks) can be the base: "
            "--config stg_world.",
        ),
    ),
}
"""Name of a table -> its rows."""
