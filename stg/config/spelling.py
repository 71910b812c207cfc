"""From a name that is no option to those that may be meant."""

from collections.abc import Sequence
from difflib import get_close_matches

SYNONYMS = {
    word: options
    for words, options in (
        ("learning_rate learningrate step_size alpha", ("lr",)),
        ("batch_size batchsize minibatch_size bs", ("batch_videos", "batch")),
        ("num_epochs n_epochs max_epochs epoch iterations max_iter", ("epochs",)),
        ("random_seed manual_seed random_state rng", ("seed",)),
        ("num_layers n_layers depth", ("layers",)),
        ("dropout_rate drop_rate dropout_prob drop_prob p_dropout drop", ("dropout",)),
        ("wd decay l2 l2_penalty", ("weight_decay",)),
        ("optimizer optimiser", ("algorithm",)),
        ("grad_clip clip_grad max_grad_norm gradient_clip clip", ("clip_norm",)),
        ("early_stopping early_stop", ("patience",)),
        ("num_heads n_heads nhead attention_heads", ("heads",)),
        ("hidden_size hidden_dim rnn_size lstm_size", ("hidden", "channels")),
        ("d_model embed_dim embedding_dim embed_size embedding_size dim width", ("channels", "hidden")),
        ("beam_size beam_width num_beams n_beams beams", ("beam",)),
        ("max_len max_seq_len max_new_tokens max_tokens", ("max_length",)),
        ("num_return_sequences num_captions n_captions", ("n_best", "captions_per_video")),
        ("vocab_size vocabulary_size", ("max_words",)),
        ("min_freq word_count_threshold", ("min_count",)),
        ("fp16 bf16 amp half mixed_precision dtype", ("precision", "features_dtype")),
        ("gpu gpus gpu_id cuda cpu", ("device",)),
        ("num_workers n_workers jobs n_jobs processes", ("workers", "threads")),
        ("output output_dir out_dir output_path save_dir save_path log_dir o", ("out",)),
        ("checkpoint ckpt pretrained init_from resume", ("start", "model", "run")),
        ("data_dir data_path dataset_path data_root annotations", ("root",)),
        ("input input_dir inputs video clip", ("videos", "clips")),
        ("n_frames frames num_segments", ("num_frames",)),
        ("conf conf_thres confidence score_threshold", ("threshold",)),
        ("verbose", ("debug",)),
    )
    for word in words.split()
}
"""What other programs call an option -> the last part of its name here; for words that are spelled unlike it."""


def near_options(name: str, known: Sequence[str]) -> list[str]:
    """The known options that are most likely meant by a name that is none, at most three.

    Options of the same last part in another section, and other words for it, count before like spellings.

    Args:
        name: as it was given, such as ``learning_rate``, ``model.lr`` or ``batch-size``.
        known: all names, with their sections if they lie in one (``optim.lr``).
    """
    plain = name.replace("-", "_").lower()
    section, _, last = plain.rpartition(".")
    found = _ending_in((last, *SYNONYMS.get(last, ())), known)
    found = found or _ending_in(get_close_matches(last, {key.rpartition(".")[2] for key in known}), known)
    found = found or get_close_matches(plain, known)
    # Who names the section is right about it, if it has such an option.
    return ([key for key in found if key.rpartition(".")[0] == section] or found)[:3]


def _ending_in(words: Sequence[str], known: Sequence[str]) -> list[str]:
    """The known names whose last part is one of these words, in the order of the words."""
    return [key for word in words for key in known if key.rpartition(".")[2] == word]
