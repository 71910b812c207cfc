"""A trained captioner as one file: weights, settings, vocabulary, and how its features were made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from graphs import GraphStore
from stg.config.model import GraphConfig, ModelConfig
from stg.config.plugins import plugin_record
from stg.config.schema import describe, differences, from_dict, to_dict
from stg.config.search import SearchConfig
from stg.data.feature_check import Versions, check_features, versions_record
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.runs.calibration import Calibration
from stg.runs.model_file import DAMAGED, FORMAT, MODEL_FILE, VERSION, WHOLE_FILE, check_parts, check_plugins
from stg.runs.pretrained import check_target, find_model, write_config_and_card
from stg.runs.tensors import CheckpointError, building_for, load_tensors, save_tensors
from stg.runtime.errors import UserError
from stg.runtime.hub import push
from stg.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class CaptionerBundle:
    """A captioner with all that is needed to use it.

    Attributes:
        captioner: the model; in an exported file without the parts that only training needs.
        vocabulary: its words.
        model, graph: the settings it was built from.
        widths: the widths of the features it reads.
        features: the manifest of those features; others are refused.
        features_dtype: what they were rounded to in the store.
        made_with: versions that made them, as in :attr:`graphs.GraphStore.versions`.
        calibration: search -> what its confidence is worth; that of a run lies next to its evaluations instead.
        search: how it is best searched for captions, if that is known.
    """

    captioner: Captioner
    vocabulary: Vocabulary
    model: ModelConfig
    graph: GraphConfig
    widths: FeatureWidths
    features: Mapping[str, Any]
    features_dtype: str = "float16"
    made_with: Sequence[Versions] = ()
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    search: SearchConfig | None = None

    @property
    def num_weights(self) -> int:
        """How many weights the captioner has."""
        return sum(weight.numel() for weight in self.captioner.parameters())

    def check(self, store: GraphStore) -> None:
        """Refuse a store whose features were made otherwise than the ones this model was trained on.

        Raises:
            UserError: names the fields that differ, with both values.
        """
        check_features(self.features, store, "model")

    def initialise_from(self, folder: str | Path) -> int:
        """Give the captioner the weights of a finished run; one that gates a graph also takes those of a scene branch.

        Returns:
            How many weights stay fresh, since the run has none of their names.

        Raises:
            CheckpointError: no such run.
            UserError: another vocabulary, other features or other settings of the model or its graph (which are named).
        """
        # With its object branch, where there is one: the model that captions has lost it.
        before = CaptionerBundle.load_training_model(folder) or CaptionerBundle.load(Path(folder) / MODEL_FILE)
        if before.vocabulary.fingerprint != self.vocabulary.fingerprint:
            raise UserError(
                f"{folder} was trained with other words ({len(before.vocabulary)}, now {len(self.vocabulary)}): take "
                "the same captions, data.min_count and data.max_words"
            )

        # Behind its gate, the graph is added to a model that is otherwise that of the scene.
        added = before.model.branches == "scene" and self.model.join == "gate"
        unread = {"branches", "join", "readout"} if added else set()
        # Tracks were of no account to a model that was trained without.
        unseen = {"tracks"} - before.features.keys()

        def described(trained: CaptionerBundle) -> dict[str, Any]:
            # The graph is of no account to a model without an object branch.
            graph = {} if added or trained.model.branches == "scene" else to_dict(trained.graph)
            model = to_dict(trained.model)
            others = unread | {"dropout", "stats", "attention_lstm"} - {trained.model.decoder}
            model = {key: value for key, value in model.items() if key not in others}
            features = {key: value for key, value in trained.features.items() if key not in unseen}
            return {"model": model, "graph": graph, "features": features}

        if changed := differences(described(before), described(self)):
            listed = describe(changed)
            raise UserError(f"{folder} holds another model ({listed}): ask for the same settings to begin with it")
        # Layers that predict words are of a training, and not among the settings of the model: either may have none, or
        # one that reads more.
        own, theirs = self.captioner.state_dict(), before.captioner.state_dict()
        taken = {name: value for name, value in theirs.items() if name in own and value.shape == own[name].shape}
        self.captioner.load_state_dict(own | taken)
        return sum(weight.numel() for name, weight in self.captioner.named_parameters() if name not in taken)

    def save(self, path: Path, *, whole: bool = False, half: bool = False, words: bool = True) -> None:
        """Write the part that captions (or, if ``whole``, the object branch too), atomically and with a checksum.

        Args:
            half: keep the weights in half precision, but the statistics of features, whose range is larger.
            words: keep the layer that predicts words, which captions nothing unless ``search.word_weight`` asks for it.
        """
        captioner = self.captioner if whole else self.captioner.for_captioning()
        # A full model whose object branch is gone is a scene model.
        lost = captioner.objects is not self.captioner.objects
        alone = {"branches": "scene", "readout": "frames"} if lost else {}
        header = {
            "format": FORMAT,
            "version": VERSION,
            "model": {**to_dict(self.model), **alone},
            "graph": to_dict(self.graph),
            "widths": asdict(self.widths),
            "vocabulary": self.vocabulary.to_json(),
            "features": dict(self.features),
            "features_dtype": self.features_dtype,
            # For those who need to know before anything is built, or torch loaded.
            "reads": sorted(captioner.reads),
        }
        if self.calibration:
            header["calibration"] = {search: asdict(found) for search, found in self.calibration.items()}
        if self.search is not None:
            header["search"] = to_dict(self.search)
        # Whoever opens the model later is asked for them by name.
        weights = {
            name: value for name, value in captioner.state_dict().items() if words or not name.startswith("words.")
        }
        rounded = [name for name in weights if half and not name.startswith("standardise.")]
        weights |= {name: weights[name].half() for name in rounded if weights[name].is_floating_point()}
        save_tensors(path, weights, header | versions_record(self.made_with) | plugin_record())

    @classmethod
    def load(cls, path: str | Path) -> "CaptionerBundle":
        """Read an exported captioner, ready to caption.

        Raises:
            CheckpointError: the file is missing, damaged, of another kind or version, or its weights do not fit its
                settings.
        """
        path = Path(path)
        # Everything is read and checked before anything is built.
        tensors, header = load_tensors(path)
        # An embedding or a checkpoint is a file of the same kind with another content.
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            found = f"{header.get('format')} version {header.get('version')}"
            raise CheckpointError(f"{path} holds {found}; expected {FORMAT} version {VERSION}")
        check_plugins(header, f"the model {path}")
        try:
            check_parts(header)
            # Models of before the grid had a largest number of steps read them all.
            header["model"].get("stats", {}).setdefault("max_steps", 0)
            model, graph = from_dict(ModelConfig, header["model"]), from_dict(GraphConfig, header["graph"])
            vocabulary = Vocabulary.from_json(header["vocabulary"])
            widths = from_dict(FeatureWidths, header["widths"])
            with building_for(tensors):
                captioner = build_captioner(
                    model, graph, widths=widths, vocabulary=len(vocabulary), max_words=vocabulary.max_words
                )
                if any(name.startswith("words.") for name in tensors):
                    captioner.predict_words(torch.full([len(vocabulary)], 0.5), torch.ones(len(vocabulary)).bool())
            captioner.load_state_dict(tensors)
            features = header["features"]
            calibration = {
                search: from_dict(Calibration, found) for search, found in header.get("calibration", {}).items()
            }
            search = from_dict(SearchConfig, header["search"]) if "search" in header else None
        except (*DAMAGED, RuntimeError) as error:
            raise CheckpointError(f"{path}: settings and weights do not fit each other: {error}") from error
        kept = header.get("features_dtype", "float16")
        made_with = tuple(header.get("made_with", ()))
        return cls(captioner.eval(), vocabulary, model, graph, widths, features, kept, made_with, calibration, search)

    @classmethod
    def load_training_model(cls, folder: str | Path) -> "CaptionerBundle | None":
        """The model of a run with the object branch that only taught it; None where there is no such file.

        Raises:
            CheckpointError: as `load`.
        """
        whole = Path(folder) / WHOLE_FILE
        return cls.load(whole) if whole.exists() else None

    def save_pretrained(self, folder: str | Path, *, about: str = "") -> None:
        """Write the part that captions into a folder that can be passed on, or laid on a hub.

        It has the files of ``huggingface_hub.PyTorchModelHubMixin``: ``model.safetensors``, ``config.json`` and a model
        card, ``README.md``, which is left as it is where there is one; and the checksum ``model.sha256``.

        Args:
            folder: made if absent.
            about: Markdown that stands at the top of the card, such as data, scores and licence.

        Raises:
            UserError: the folder is a run, or holds another kind of model.
        """
        target = Path(folder)
        check_target(target)
        target.mkdir(parents=True, exist_ok=True)
        self.save(target / MODEL_FILE)
        write_config_and_card(target, about)

    @classmethod
    def from_pretrained(
        cls, model: str | Path, *, download: bool = False, revision: str | None = None
    ) -> "CaptionerBundle":
        """The captioner in a folder, or that of a hub, ``owner/name``; without ``download`` this machine's copy of it.

        Raises:
            UserError: no such model, with what to fetch and where to put it.
            CheckpointError: as `load`.
        """
        return cls.load(find_model(model, download=download, revision=revision))

    def push_to_hub(self, model: str, *, private: bool | None = None, about: str = "") -> str:
        """Send what `save_pretrained` writes to a hub (huggingface.co, or ``HF_ENDPOINT``); returns the address.

        Args:
            model: ``owner/name``, made if it is not there.
            private: whether a new model is hidden from others; None: as the hub has it for this owner.
            about: as in `save_pretrained`.

        Raises:
            UserError: the hub cannot be reached, or refuses it.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, about=about)
            return push(Path(folder), model, private=private)
