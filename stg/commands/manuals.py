"""What the help of each command begins with: two examples, and the options that most users need, commonest first.

Plain data, two levels deep, so that pages of a site can be made of it as well as ``--help``. All options that are not
named here are rare: ``--help_all`` shows them, under the headings of their settings. `stg.commands.manual_pages` puts
this together with the parsers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Manual:
    """The examples and the common options of a command."""

    name: str
    """Of the command, as ``python -m stg NAME`` takes it."""
    examples: tuple[tuple[str, str], ...]
    """What stands behind the name of the command, and what that does."""
    groups: Mapping[str, str]
    """Heading -> the names of its options, commonest first, with blanks between them."""
    briefs: Mapping[str, str] = field(default_factory=dict)
    """Name of an option -> what ``--help`` says of it, where neither `BRIEFS` nor its first sentence will do."""

    @property
    def common(self) -> list[str]:
        """The names of all options that ``--help`` shows."""
        return [name for names in self.groups.values() for name in names.split()]

    def brief(self, name: str) -> str | None:
        """What ``--help`` says of an option; None: its first sentence."""
        return self.briefs.get(name) or BRIEFS.get(name)


BRIEFS = {
    "clips": "Video files or folders; put -- before names that start with -.",
    "config": "YAML file of options, or a preset: --config help lists them.",
    "data.dataset": "world (built in), msvd, msrvtt, vatex, or folder: clips of your own.",
    "data.more": "More data sets to learn from: msvd:/data/msvd, several with commas.",
    "data.root": "Folder of the annotation files.",
    "data.store": "Store of the graphs, as stg.extract makes it; the world makes its own.",
    "device": "auto (a GPU where there is one), cpu, cuda, cuda:1, mps.",
    "graph.variant": "Edges: full, spatial, temporal, dense, none; tracks, full+tracks.",
    "meteor": "Score by METEOR, too; needs Java.",
    "optim.epochs": "Most passes over the training videos.",
    "optim.lr": "Step size.",
    "optim.patience": "Stop after so many epochs without a better validation score.",
    "root": "Folder of the annotation files, if they have moved.",
    "run.device": "auto (a GPU where there is one), cpu, cuda, cuda:1, mps.",
    "search.method": "greedy, beam, diverse, sample, or mbr (most like many draws).",
    "search.temperature": "sample, mbr: below 1, likely words become likelier.",
    "search.max_length": "Most words of a caption.",
    "seeds": "Seeds of every row, with commas.",
    "split": "val, test or train. Choose on val; use test once.",
    "store": "Graph store in place of the one that the run was trained with.",
    "strict": "Refuse to write on a network file system, instead of warning.",
    "time_limit": "Seconds to wait for one clip before it is given up.",
    "videos": "Video files or folders; put -- before names that start with -.",
    "weights": "Folder with the networks that made the training features.",
    "workers": "Processes that decode clips.",
}
"""Name of an option, of whatever command -> what ``--help`` says of it."""


MANUALS = {
    "ExtractConfig": Manual(
        "extract",
        (
            ("clips/ --out stores/mine --download", "By ResNet-101 and Faster R-CNN, fetched once (340 MB)."),
            (
                "clips/ --out stores/small --detector yolox.onnx --backbone efficientnet.onnx",
                "By small networks of your own.",
            ),
        ),
        {
            "Clips and store": "clips out recursive refresh",
            "Networks": "backbone detector motion sound download backbone_weights detector_weights motion_weights "
            "sound_weights",
            "Frames and objects": "num_frames sampling stride threshold max_objects grid",
            "Work": "workers time_limit device threads",
        },
        {
            "backbone": "Describes frames: resnet101, resnet152, an .onnx file, hf:MODEL (CLIP, SigLIP, DINO, ...), "
            "timm:MODEL.",
            "backbone_weights": "A file, or a name such as IMAGENET1K_V1.",
            "detector": "Finds objects: fasterrcnn_resnet50_fpn_v2, a YOLOX .onnx file, hf:MODEL (DETR, D-FINE, "
            "Grounding DINO), none, ...",
            "detector_weights": "A file, or a name such as COCO_V1.",
            "grid": "Keep motion features of all places, as STaTS needs them.",
            "max_objects": "Objects kept in each frame, the best.",
            "motion": "Describes motion: s3d, i3d, i3d_two_stream, hf:MODEL (VideoMAE), none, ...",
            "motion_weights": "A file, or a name such as KINETICS400_V1.",
            "num_frames": "Frames sampled from each clip.",
            "out": "The store: made if absent, else continued.",
            "refresh": "Clips that another file has replaced: make their graphs again.",
            "sampling": "centres, linspace or stride.",
            "stride": "sampling stride: frames for which one is sampled.",
            "threshold": "Least score of an object, in 0..1.",
            "sound_weights": "A file with the weights of VGGish.",
        },
    ),
    "ImportConfig": Manual(
        "import_features",
        (
            ("features.json --out stores/mine", "The features that features.json describes."),
            ("features.json --out stores/mine --refresh", "Again, where features have changed since."),
        ),
        {"Features and store": "description out refresh download", "Limits": "features_dtype max_skip strict"},
        {
            "description": "JSON or YAML file that describes the features.",
            "features_dtype": "float16, or float32 for features beyond 65504.",
            "max_skip": "Share of videos that may be skipped, in 0..1.",
            "out": "The store: made if absent, else continued.",
            "refresh": "Import again the videos whose features have changed.",
        },
    ),
    "StoreConfig": Manual(
        "store",
        (
            ("info stores/mine", "What it holds, and which networks made it."),
            ("merge stores/mine.rank* --out stores/mine", "One store from those of several processes."),
        ),
        {
            "What to do": "action paths out",
            "Edges": "tau_time tau_space top_k drop_zero_iou pad_objects",
            "Tracks": "min_iou min_cosine appearance patience same_label",
        },
        {
            "appearance": "Share of the cosine in the likeness of two objects.",
            "drop_zero_iou": "Connect only boxes that overlap.",
            "min_cosine": "Least cosine of two objects that are joined, -1 to 1.",
            "min_iou": "Least overlap of two boxes that are joined, 0 to 1.",
            "out": "merge, edges, tracks: the store to make, or to add to.",
            "pad_objects": "Fill each frame up to so many objects with zeros.",
            "patience": "Frames for which an object may be lost and come back.",
            "same_label": "Join objects of one class only.",
            "tau_space": "Temperature of the softmax over overlaps.",
            "tau_time": "Temperature of the softmax over cosines.",
            "top_k": "Most edges of each kind that a node gathers over.",
        },
    ),
    "FitConfig": Manual(
        "fit",
        (
            ("", "Our best captioner on the built-in world: no download, five minutes on two cores."),
            (
                "--data.dataset folder --data.root clips --data.store stores/mine",
                "On clips of your own: clips/captions.csv has their captions, stg.extract made the store.",
            ),
        ),
        {
            "Data": "config data.dataset data.root data.store data.more",
            "Model": "model.branches model.decoder model.readout model.channels graph.variant graph.layers",
            "Training": "optim.epochs optim.lr optim.batch_videos optim.patience reward.weight run.start run.teacher",
            "Run": "run.out run.seed run.control run.device run.trackers",
        },
        {
            "graph.layers": "Graph convolutions, one behind the other; 0: none.",
            "model.branches": "full: scene and object branch (Pan et al.); scene, object: one alone; joint: one "
            "decoder reads both, at test time too; concat, l2.",
            "model.channels": "Width of the model (512 in the papers).",
            "model.decoder": "transformer (Pan et al.), stats (Cherian et al.), attention_lstm (Chen et al.).",
            "model.readout": "What a decoder reads of the graph: frames, nodes, tracks, queries.",
            "reward.weight": "Share of rewards in the loss: 0.5 in STaTS, 0.9 in VATEX.",
            "run.control": "shuffle: features of other clips; edges: of other objects.",
            "run.out": "Run folder; an unfinished run in it is resumed.",
            "run.seed": "Seed of weights, order and dropout.",
            "run.start": "Run folder of a model whose weights this one begins with.",
            "run.teacher": "Run folder of a model from which this one also learns.",
            "run.trackers": "Where curves go, too: tensorboard, wandb.",
        },
    ),
    "EvaluateConfig": Manual(
        "evaluate",
        (
            ("runs/mine --split val", "Scores; and stg.caption says from then on how sure it is."),
            (
                "runs/mine --split val --search.method mbr --search.temperature 0.7",
                "Each caption the one of 40 draws that is most like all of them.",
            ),
        ),
        {
            "What to score": "run split dataset store root",
            "Search": "beam search.method search.temperature search.samples search.n_best",
            "Scores": "metrics meteor spice reference",
            "Output": "show out device",
        },
        {
            "beam": "Width of the beam search next to greedy search; 1: greedy alone.",
            "dataset": "Of a run on several data sets one, by its name, or all.",
            "metrics": "bleu, rouge, cider, meteor, spice, with commas; by default all.",
            "out": "Folder for captions and scores; by default RUN/evaluation.",
            "spice": "Folder with the files of SPICE, to print it too; needs Java.",
        },
    ),
    "CaptionConfig": Manual(
        "caption",
        (
            ("clip.mp4", "By the captioner that comes with the installation."),
            (
                "clips/ --model runs/mine --weights networks --out captions.csv",
                "A folder of clips, by a run of yours and the networks that made its features.",
            ),
        ),
        {
            "Clips and model": "videos model weights recursive download",
            "Output": "out json report overlay segments n_best",
            "Search": "beam search.method search.temperature search.max_length",
            "Work": "workers time_limit device threads",
        },
        {
            "download": "Fetch models of a hub that are not here.",
            "json": "Print one JSON object a line, with confidence and seconds.",
            "model": "Run folder, saved model, owner/name on a hub, or a name of stg models.",
            "n_best": "Captions a clip, best first; for --json.",
            "out": "Also write a file: .csv, .json, .jsonl, .srt or .vtt.",
            "overlay": "Also write the clip as .mp4, with boxes, edges and caption.",
            "report": "Also write a page (.html): frames, graph, and what each word is attributed to.",
            "segments": "Caption a long video in parts: 10s for each so many seconds, or scenes.",
        },
    ),
    "ReportConfig": Manual(
        "report",
        (
            ("runs/mine", "The run: curves, captions over time, best and worst videos, words."),
            ("runs/mine --split test --clips clips/", "Videos of test: frames, graph, caption word by word."),
        ),
        {
            "What to show": "run split clips weights videos order limit beside dataset ablations",
            "How": "out explainer beam recursive",
        },
        {
            "ablations": "Folders of stg.ablate or stg.probe whose tables are shown, with commas.",
            "beam": "Width of the search, whose candidates are shown.",
            "beside": "Other runs, with commas, whose captions are shown alongside.",
            "clips": "The video files, or folders of them, joined by ':'.",
            "explainer": "Steps of GNNExplainer, such as 60; 0: gradient times input alone.",
            "limit": "Most videos to show; 0 for all.",
            "order": "given, best or worst.",
            "out": "The page, or a folder for several; by default in RUN/report.",
            "split": "Show videos of val, test or train; without it, the run itself.",
            "videos": "Names of the videos to show, with commas.",
            "weights": "Folder with the image network, for Grad-CAM.",
        },
    ),
    "CompareConfig": Manual(
        "compare",
        (
            (
                "runs/a-seed0 runs/a-seed1 runs/b-seed0 runs/b-seed1 --split val",
                "Two models, two seeds each: b against a, with intervals.",
            ),
            ("runs/a runs/b --split val --report difference.html", "Two runs, with the videos as a page."),
        ),
        {
            "Runs and split": "runs split search dataset baseline names",
            "Output": "show report clips json",
            "Scores": "samples seed meteor",
        },
        {
            "baseline": "The row that the others are set against; by default the first.",
            "clips": "For --report: the video files, or folders of them, joined by ':'.",
            "dataset": "The data set, as of stg.evaluate.",
            "meteor": "Compare by METEOR, too; needs Java.",
            "names": "Names of the rows, with commas.",
            "report": "A page (.html) of the --show videos, with frames and captions.",
            "search": "How captions were found: greedy, beam5, ...",
            "show": "Videos to print of those that gain most, and that lose most.",
        },
    ),
    "AblateConfig": Manual(
        "ablate",
        (
            ("pan3", "Table 3 of Pan et al. on the built-in world, three seeds a row."),
            (
                "--variants full,spatial,none --decoders transformer,stats --dry_run",
                "The cells of a grid of your own; without --dry_run they are trained and scored.",
            ),
        ),
        {
            "Rows": "table variants decoders branches seeds controls",
            "Settings of all rows": "config data.dataset data.root data.store optim.epochs run.device",
            "Output": "out dry_run report verbose split beam meteor",
        },
        {
            "beam": "Width of the beam search next to greedy search; 1: greedy alone.",
            "branches": "Grid: values of model.branches, with commas.",
            "controls": "Every row on shuffled features, too.",
            "decoders": "Grid: values of model.decoder, with commas.",
            "out": "Folder of cells and report; by default runs/ablation-TABLE-DATASET.",
            "split": "The split that cells are scored on; epochs are chosen on val.",
            "table": "pan3, stats1, stats2, vatex1, families, graph, graph2 or distillation.",
            "variants": "Grid: values of graph.variant, with commas.",
        },
    ),
    "ProbeConfig": Manual(
        "probe",
        (
            ("--rows none,spatial,full --seeds 0", "Three graphs, one seed."),
            ("--store stores/w-sharp --out runs/probe-sharp", "All rows, on edges that stg.store edges rebuilt."),
        ),
        {
            "What to probe": "store rows seeds out time_flow",
            "Classifier": "epochs batch_videos lr channels layers dropout threads",
        },
        {
            "rows": "scene, none, spatial, temporal, dense, full, with commas; with -shuffled behind it on features "
            "shuffled between videos.",
            "store": "Store of the world's graphs; by default as stg.fit makes it.",
            "time_flow": "Direction along temporal edges: literal, forward, both.",
        },
    ),
    "PredictionsConfig": Manual(
        "predictions",
        (
            ("compare a.json b.json --run runs/a --different true", "Where two models say different things."),
            (
                "merge a.json b.json --videos list.json --form vatex --out both.json",
                "A caption of every video of a list, from the first file that has one.",
            ),
        ),
        {
            "What to do": "action files",
            "Merge": "out videos form force",
            "Compare": "references run show different json",
        },
        {
            "form": "coco: a list of image_id and caption; vatex: {video: caption}.",
            "out": "The file to write.",
            "references": "A caption file whose captions are shown as references.",
            "run": "A run folder, whose data set gives the references.",
            "show": "Videos to print, 0 for all; by default 20.",
            "videos": "A file with the ids that must all be there.",
            "different": "Only videos of which not all files say the same.",
        },
    ),
    "WordsConfig": Manual(
        "words",
        (
            ("st.json ts.json", "The verbs and nouns of two caption files, side by side."),
            ("captions.jsonl --tagger lexicon --top 50", "Of one file, with nothing else installed."),
        ),
        {"Captions": "files", "Lists": "top drop json", "Parts of speech": "tagger model"},
        {
            "drop": "The most frequent words, of any kind, that are left out.",
            "tagger": "spacy decides best; lexicon needs nothing; auto: spacy if installed.",
        },
    ),
    "EmbedConfig": Manual(
        "embed",
        (
            (
                "--data.dataset msvd --data.root MSVD --data.store stores/msvd --out runs/embed",
                "Train on MSVD; prints recall at 1, 5 and 10, both ways.",
            ),
            ("--out runs/embed --evaluate test", "Afterwards, once: recall on test."),
        ),
        {
            "Data": "config data.dataset data.root data.store",
            "Model": "model.video model.channels model.hidden",
            "Training": "optim.epochs optim.lr optim.batch_videos optim.margin optim.patience",
            "Run": "out evaluate seed control device threads",
        },
        {
            "control": "shuffle: features of other clips, by which nothing is found.",
            "evaluate": "Train nothing: recall of the embedding in --out on this split.",
            "model.video": "mean of the features, graph, or mean+graph.",
            "optim.batch_videos": "Videos a step.",
            "out": "Folder of the embedding; unfinished training is resumed.",
            "seed": "Seed of weights, order and dropout.",
        },
    ),
    "FuseConfig": Manual(
        "fuse",
        (
            (
                "runs/a runs/b --embedding runs/embed --split val --out fused.json",
                "For each video the caption that a video-text embedding finds closest.",
            ),
            ("runs/a runs/b --method ensemble --out both.json", "Both runs choose each word together."),
        ),
        {
            "What to fuse": "runs method embedding split",
            "How": "mix candidates search.beam search.method fallback",
            "Output": "out form force meteor device",
        },
        {
            "form": "coco: a list of image_id and caption; vatex: {video: caption}.",
            "method": "rerank by an embedding, or ensemble: word by word.",
            "mix": "rerank: weight of the captions' own log-probability.",
        },
    ),
    "ModelsConfig": Manual(
        "models",
        (
            ("", "A table: name, data, scores, size, and whether the files are as their cards say."),
            ("--json", "All facts, one captioner a line."),
        ),
        {"Output": "json"},
    ),
    "ShipConfig": Manual(
        "ship",
        (
            ("runs/mine --name mine --weights networks --default", "What stg.caption takes by default."),
            (
                "runs/a-seed0 runs/a-seed1 --name a --weights networks --out captioners",
                "The first run, with the scores of both on its card, into another folder.",
            ),
        ),
        {
            "Run": "runs name weights out default",
            "Card": "notes control origins",
            "Model": "float16 search.beam search.method",
        },
        {
            "control": "Run on shuffled features: what a captioner that sees nothing scores.",
            "float16": "Half precision, where it changes hardly any caption.",
            "notes": "Markdown file that is put at the end of the card.",
            "origins": "JSON file that says where the networks come from.",
            "out": "Folder for captioners; by default that of this installation.",
            "weights": "Folder with the ONNX networks that made its training features.",
        },
    ),
    "BenchConfig": Manual(
        "bench",
        (
            ("export bench", "500 clips of the built-in world, with captions and questions; no download."),
            ("score bench answers.jsonl --report page.html", "The scores of a model that has answered them."),
        ),
        {
            "What to do": "action folder source",
            "Export": "clips size seed level",
            "Score": "name samples report json",
            "Run": "weights control",
            "Ask": "model method frames batch device download endpoint out",
            "Prompt": "store",
        },
        {
            "batch": "Replies that a chat model reads in one pass.",
            "clips": "How many clips, each with one question or more.",
            "control": "Show frames shuffled, reversed, one alone (single), or each (mean).",
            "device": "auto, cpu, cuda, cuda:1, ...",
            "download": "Fetch --model, if it is not here.",
            "endpoint": "Address of an endpoint of chat completions, to ask that.",
            "frames": "Frames of a clip that are shown.",
            "json": "Print one JSON object.",
            "level": "plain, crowded, busy, hidden, ..., hard, or objects=6,noise=8.",
            "method": "What a chat model chooses by: likelihood or letter.",
            "model": "Folder of a model of transformers, or owner/name on a hub.",
            "name": "Name of the row.",
            "out": "File of answers, which is continued.",
            "report": "A page (.html) with answers that are right and wrong.",
            "samples": "How many times the clips are resampled, for the intervals.",
            "seed": "Another seed makes other clips of the same kinds.",
            "size": "Width and height of the clips in pixels, 96 to 448.",
            "store": "Graphs that stg.extract made of the clips; default: the true boxes.",
        },
    ),
}
"""Name of the class of a command's settings -> its manual, in the order of ``python -m stg``."""
