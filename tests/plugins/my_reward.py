"""A reward of one's own: the share of words that a caption says for the first time."""

import numpy as np

from stg.training import REWARDS
from stg.training.rewards import ready


class FewRepeats:
    def __init__(self, references):
        self.decode = references.vocabulary.decode

    def start(self, videos, captions):
        texts = [self.decode(caption).split() for caption in captions]
        return ready(np.array([len(set(words)) / max(len(words), 1) for words in texts]))

    def close(self):
        pass


REWARDS["few_repeats"] = FewRepeats
