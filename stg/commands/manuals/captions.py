"""Manuals of the commands on the way from clips to captions: features, training, scores, captions, pages."""

from stg.commands.manuals.manual import Manual

CAPTIONS = {
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
}
"""Name of the class of a command's settings -> its manual."""
