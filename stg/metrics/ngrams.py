"""N-grams of many captions as numbers, counted and looked up without a loop over captions, words or n-grams."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

_SHIFT = 32
_END = np.iinfo(np.int64).max
_LISTED = 1 << 20
"""Words below this number are looked up in a list of all."""


@dataclass(frozen=True)
class NgramCounts:
    """How often every n-gram occurs in every caption, each pair once.

    Args:
        bin: ``caption * order + n - 1``, ascending, for the n words of the n-gram.
        ngram: its number among those of the references, -1 where these do not hold it.
        count: at least 1.
        lengths: words of every caption.
    """

    bin: Int32[ndarray, " entries"]
    ngram: Int32[ndarray, " entries"]
    count: Int32[ndarray, " entries"]
    lengths: Int64[ndarray, " captions"]


class ReferenceNgrams:
    """The n-grams of every video's references, numbered, counted and sorted once, for many captions to be joined with.

    An n-gram is numbered through the number of its first n - 1 words and its last word, so that the numbers are exact
    for any vocabulary. They are int32: up to 2 ** 31 n-grams, and captions times ``order``. The postings of a pair
    (video, n-gram), ``start[pair]`` to ``start[pair + 1]``, say which of the video's references hold the n-gram, and
    how often.

    Args:
        references: video -> its captions -> their words, numbers >= 0.
        order: longest n-gram.

    Raises:
        ValueError: no video, one without a reference, or a word below 0.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]], order: int = 4) -> None:
        if order < 1:
            raise ValueError(f"the longest n-gram has at least one word, got order={order}")
        sizes = reference_sizes(references)
        words, self.lengths = flatten([caption for captions in references for caption in captions])
        self.order = order
        self.sizes: Int64[ndarray, " videos"] = sizes
        self.first: Int64[ndarray, " videos"] = np.cumsum(sizes) - sizes
        self.video: Int64[ndarray, " references"] = np.repeat(np.arange(len(sizes)), sizes)
        self._tables: list[Int64[ndarray, " keys"]] = []
        counts = self._counts(words, self.lengths, build=True)
        pair = self.video[counts.bin // order] * self.total + counts.ngram
        # Sorted by pair: all references of a video that hold an n-gram lie in one stretch.
        by_pair = np.argsort(pair)
        self.bin: Int32[ndarray, " postings"] = counts.bin[by_pair]
        self.ngram: Int32[ndarray, " postings"] = counts.ngram[by_pair]
        self.count: Int32[ndarray, " postings"] = counts.count[by_pair]
        del counts
        pair = pair[by_pair]
        del by_pair
        new = np.flatnonzero(np.diff(pair, prepend=-1))
        # With a sentinel at the end, so that a search always finds a place.
        self.pairs: Int64[ndarray, " pairs_and_end"] = np.append(pair[new], _END)
        self.start: Int64[ndarray, " pairs_and_end"] = np.append(new, len(pair))

    @property
    def total(self) -> int:
        """Number of distinct n-grams of all orders."""
        return sum(len(table) - 1 for table in self._tables)

    def counts(self, captions: Sequence[Sequence[int]]) -> NgramCounts:
        """Count the n-grams of captions ``[N]``; those that no reference holds are kept apart, too."""
        words, lengths = flatten(captions)
        return self._counts(words, lengths, build=False)

    def find(
        self, rows: Int64[ndarray, " entries"], ngram: Int32[ndarray, " entries"]
    ) -> tuple[Int64[ndarray, " found"], Int64[ndarray, " found"]]:
        """Entries (video, n-gram) whose n-gram a reference of the video holds, and the index of each one's pair."""
        entry = np.flatnonzero(ngram >= 0)
        keys = rows[entry] * self.total + ngram[entry]
        index = np.searchsorted(self.pairs, keys)
        there = self.pairs[index] == keys
        return entry[there], index[there]

    def _counts(
        self, words: Int64[ndarray, " words"], lengths: Int64[ndarray, " captions"], build: bool
    ) -> NgramCounts:
        entries = self._entries(words, lengths, build)
        distinct, count = np.unique(entries, return_counts=True)
        del entries
        count = count.astype(np.int32)
        bins = (distinct >> _SHIFT).astype(np.int32)
        number = distinct & ((1 << _SHIFT) - 1)
        del distinct
        return NgramCounts(bins, np.where(number < self.total, number, -1).astype(np.int32), count, lengths)

    def _entries(
        self, words: Int64[ndarray, " words"], lengths: Int64[ndarray, " captions"], build: bool
    ) -> Int64[ndarray, " entries"]:
        """Bin and number of every n-gram in one int64, so that one sort counts all: ``bin << 32 | number``.

        With ``build`` the words are those of the references, whose n-grams get their numbers here. Otherwise n-grams
        that no reference holds have numbers from `total` on.
        """
        caption = np.repeat(np.arange(len(lengths)), lengths)
        # How many words are left in its caption, from each word on.
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))
        start = np.arange(len(words))
        last = prefix = words
        entries = []
        offset, total = 0, 0 if build else self.total
        for n in range(self.order):
            start = start[left[start] > n]
            # The n-gram before, which is one number by now, and one more word: an int64 for any order.
            key = words if n == 0 else (prefix[start] << _SHIFT) | last[start + n]
            if build:
                distinct, number = np.unique(key, return_inverse=True)
                self._tables.append(np.append(distinct, _END))
            elif n == 0:
                number = self._word_numbers(words)
            else:
                number = _numbers(self._tables[n], key)
            # Only starts are read again, and the starts of longer n-grams are among them.
            prefix = np.zeros(len(words), np.int64)
            prefix[start] = number
            last = prefix if n == 0 else last
            # Behind the tables of all orders an n-gram has a number that no reference shares.
            here = len(self._tables[n]) - 1
            number += np.where(number < here, offset, total - here)
            offset += here
            entries.append((caption[start] * self.order + n) << _SHIFT | number)
        return np.concatenate(entries)

    def _word_numbers(self, words: Int64[ndarray, " words"]) -> Int64[ndarray, " words"]:
        """`_numbers` of single words, which a list of all of them tells without a search, if it is there."""
        if not len(self._places) or words.max(initial=0) >= _LISTED:
            return _numbers(self._tables[0], words)
        found = self._places[np.minimum(words, len(self._places) - 1)]
        return np.where(found >= 0, found, len(self._tables[0]) - 1 + words)

    @cached_property
    def _places(self) -> Int64[ndarray, " words_and_end"]:
        """Position of every word among those of the references, -1 where they lack it; the last is of all beyond.

        Empty where the numbers of the words are too large for a list.
        """
        words = self._tables[0][:-1]
        largest = int(words.max(initial=-1))
        places = np.full(largest + 2 if largest < _LISTED else 0, -1)
        if len(places):
            places[words] = np.arange(len(words))
        return places


def flatten(captions: Sequence[Sequence[int]]) -> tuple[Int64[ndarray, " words"], Int64[ndarray, " captions"]]:
    """All words in a row, and the number of words of every caption.

    Raises:
        ValueError: a word below 0.
    """
    lengths = np.fromiter(map(len, captions), np.int64, len(captions))
    words = np.fromiter(chain.from_iterable(captions), np.int64, int(lengths.sum()))
    if len(words) and words.min() < 0:
        raise ValueError(f"words are numbers from 0 on, got {words.min()}: leave padding out")
    return words, lengths


def checked_rows(rows: Sequence[int], captions: int, videos: int) -> Int64[ndarray, " captions"]:
    """Videos of the captions, as an array.

    Raises:
        ValueError: another number of rows than captions, or a row without a video.
    """
    checked = np.array(rows, np.int64).reshape(-1)
    if len(checked) != captions:
        raise ValueError(f"every caption needs the row of its video: {captions} captions, {len(checked)} rows")
    wrong = checked[(checked < 0) | (checked >= videos)]
    if len(wrong):
        raise ValueError(f"there is no video {wrong[0]}: the references have rows 0 to {videos - 1}")
    return checked


def reference_sizes(references: Sequence[Sequence[Sequence[int]]]) -> Int64[ndarray, " videos"]:
    """How many references every video has.

    Raises:
        ValueError: no video, or one without a reference.
    """
    sizes = np.fromiter(map(len, references), np.int64, len(references))
    if not sizes.all() or not len(sizes):
        lack = f"video {int(sizes.argmin())} has none" if len(sizes) else "there is no video"
        raise ValueError(f"every video needs a reference: {lack}")
    return sizes


def _numbers(table: Int64[ndarray, " keys"], key: Int64[ndarray, " found"]) -> Int64[ndarray, " found"]:
    """Position of every key in the sorted table; what is not in it gets numbers behind its end, equal for equal."""
    # Sorted keys are looked up several times faster: what one search reads, the next one finds in the cache.
    distinct, inverse = np.unique(key, return_inverse=True)
    number = np.searchsorted(table, distinct)
    fresh = table[number] != distinct
    number[fresh] = len(table) - 1 + np.arange(np.count_nonzero(fresh))
    return number[inverse]
