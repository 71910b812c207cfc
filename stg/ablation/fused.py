"""Cells that train no captioner: an embedding chooses among the captions of other cells (Chen et al., 2019)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from stg.ablation.cells import CellFolder
from stg.ablation.command_lines import embed_command, fuse_command
from stg.config.retrieval import EmbedConfig, FuseConfig
from stg.config.schema import to_dict
from stg.config.search import SearchConfig
from stg.datasets.open import open_dataset
from stg.evaluation.predictions import write_predictions
from stg.metrics.scorer import Scores
from stg.retrieval.embedding import EmbeddingBundle
from stg.retrieval.folder import SETTINGS, check_folder, train_in
from stg.retrieval.fusion import fuse
from stg.runs.evaluations import file_stem
from stg.runs.fusions import write_fusion
from stg.runtime.device import pick_device
from stg.runtime.errors import Preempted, StgError
from stg.runtime.files import write_atomic
from stg.runtime.reporter import Reporter
from stg.text.words import broken_endings

CANDIDATES = 5
"""Captions that each run offers (the preset vatex_fused), or as many as its beam holds."""


@dataclass(frozen=True)
class FusedFolder(CellFolder):
    """A cell of a row that fuses others, on disk.

    Args:
        members: the cells among whose captions is chosen, of its seed.
        embedding: settings of its embedding, but for data, seed and folder.
    """

    members: tuple[CellFolder, ...] = ()
    embedding: EmbedConfig = field(default_factory=EmbedConfig)

    @property
    def embed_config(self) -> EmbedConfig:
        """What its embedding is trained as: on the data that the runs have learned from."""
        config = self.config
        return replace(
            self.embedding,
            data=config.data,
            world=config.world,
            out=str(self.run.path / "embedding"),
            seed=self.cell.seed,
            control="none",
            evaluate=None,
            device=config.run.device,
            threads=config.run.threads,
        )

    def fuse_config(self, search: SearchConfig) -> FuseConfig:
        """What is fused, of captions that are searched for as those of all rows are."""
        data, device = self.config.data, self.config.run.device
        return FuseConfig(
            runs=tuple(str(member.run) for member in self.members),
            out=str(self.run.path / "fusion" / f"{file_stem(self.scoring.split, search.name)}.json"),
            embedding=self.embed_config.out,
            split=self.scoring.split,
            store=data.store,
            root=data.root,
            candidates=1 if search.greedy else min(CANDIDATES, search.beam),
            search=search,
            meteor=self.scoring.meteor,
            device=device,
            force=True,
        )

    @property
    def searched(self) -> list[SearchConfig]:
        """The searches that all rows are scored by."""
        return self.scoring.config(self.run.path).searches()

    @property
    def commands(self) -> list[str]:
        """What does the same by hand."""
        return [embed_command(self.embed_config), *(fuse_command(self.fuse_config(one)) for one in self.searched)]

    @property
    def begun(self) -> bool:
        """Whether its embedding has been begun."""
        return (self.run.path / "embedding" / SETTINGS).exists()

    @property
    def trained(self) -> bool:
        """Whether its embedding has been trained to its end with these very settings.

        Raises:
            UserError: as `CellFolder.trained`.
        """
        if not self.begun:
            return False
        check_folder(self.embed_config, self.run.path / "embedding")
        self.check_features()
        return bool(self.record.get("embedded") == _length(self.embed_config))

    @property
    def evaluated(self) -> dict[str, str]:
        """As `CellFolder.evaluated`; empty, too, if one of the fused runs was trained on since."""
        return super().evaluated if self.record.get("fused") == self.fused_states else {}

    @property
    def fused_states(self) -> dict[str, Any]:
        """How far the fused runs are trained."""
        return {member.cell.name: member.run.state for member in self.members}


def _length(config: EmbedConfig) -> list[int]:
    """What of the settings of a training may differ when it resumes: it then is no longer done."""
    return [config.optim.epochs, config.optim.patience]


def train_embedding(cell: FusedFolder, reporter: Reporter) -> dict[str, Any]:
    """Train the embedding of a cell to its end; returns what is to be recorded.

    Raises:
        Preempted: the reporter asked for it; epochs that are done are saved.
    """
    config = cell.embed_config
    if config.threads:
        torch.set_num_threads(config.threads)
    folder = cell.run.path / "embedding"
    check_folder(config, folder)
    opened = open_dataset(config.data, config.world, reporter=reporter)
    with opened.store:
        train_in(config, folder, opened.dataset, opened.store, reporter=reporter, device=pick_device(config.device))
    write_fusion(cell.run.path, [member.run.path for member in cell.members], folder)
    return {"embedded": _length(config)}


def fuse_members(cell: FusedFolder, reporter: Reporter) -> dict[str, Scores]:
    """Choose among the captions of the fused runs and write captions and scores as those of a run; returns the scores
    of each search.

    Raises:
        Preempted: the reporter asked for it; what was scored is scored again.
    """
    if cell.config.run.threads:
        torch.set_num_threads(cell.config.run.threads)
    found = {}
    for search in cell.searched:
        if reporter.should_stop():
            raise Preempted(f"stopped while {cell.run} was fused: the same command fuses it again")
        config = cell.fuse_config(search)
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        fused = fuse(config, reporter=reporter)
        if "fused" not in fused.scores:
            raise StgError(f"{cell.run}: no video of {config.split} has references and captions of all fused runs")
        found[search.name] = fused.scores["fused"]
        _write(cell, search, fused.captions, found[search.name])
    return found


def _write(cell: FusedFolder, search: SearchConfig, captions: Mapping[str, str], scores: Scores) -> None:
    """Captions and scores where, and as, stg.evaluate leaves those of a run."""
    stem = file_stem(cell.scoring.split, search.name)
    captions = {video: caption for video, caption in captions.items() if video in scores.per_video}
    file = cell.run.evaluation_file(stem, "scores")
    file.parent.mkdir(parents=True, exist_ok=True)
    # Nobody may find scores next to captions that they are not of.
    file.unlink(missing_ok=True)
    write_predictions(cell.run.evaluation_file(stem), captions)
    record = {
        "split": cell.scoring.split,
        "beam": 1 if search.greedy else search.beam,
        "search": to_dict(search),
        "control": "none",
        "category": False,
        "broken_endings": broken_endings(captions.values()),
        "fused": [member.cell.name for member in cell.members],
        "videos": scores.videos,
        "scores": scores.values,
        "unavailable": scores.unavailable,
    }
    write_atomic(file, json.dumps(record, ensure_ascii=False, indent=1))


def count_fused_weights(cell: FusedFolder) -> dict[str, int]:
    """Numbers of weights: of the runs and the embedding together."""
    embedding = EmbeddingBundle.load(cell.run.path / "embedding")
    own = sum(weight.numel() for weight in embedding.embedding.parameters())
    weights = [member.record.get("weights") or {} for member in cell.members]
    return {kind: own + sum(each.get(kind, 0) for each in weights) for kind in ("trained", "captioning")}
