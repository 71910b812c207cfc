"""A metric of one's own: the mean number of words of a caption."""

from stg.metrics import METRICS, Metric


def length(captions, references):
    words = {video: len(caption.split()) for video, caption in captions.items()}
    return {"words": (sum(words.values()) / len(words), words)}


METRICS["words"] = lambda settings: Metric(length)
