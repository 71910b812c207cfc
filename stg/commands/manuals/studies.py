"""Manuals of the commands that compare, ablate and fuse models, ship them, and measure other people's."""

from stg.commands.manuals.manual import Manual

STUDIES = {
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
"""Name of the class of a command's settings -> its manual."""
