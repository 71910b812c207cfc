"""The words that a search has read, copied seldom and never mixed up."""

import torch

from decoders.word_cache import WordCache


def empty(spare: bool) -> WordCache:
    return WordCache(torch.empty(2, 3, 4, 0), torch.empty(2, 3, 0, 4), 0, spare)


def test_words_come_back_in_the_order_read():
    newest = [(torch.randn(2, 3, 4, width), torch.randn(2, 3, width, 4)) for width in (1, 5, 5, 3, 9, 5, 5, 5, 40)]
    for spare in (False, True):
        cache = empty(spare)
        for keys, values in newest:
            cache = cache.with_newest(keys, values)
        keys, values = cache.taken()
        assert torch.equal(keys, torch.cat([keys for keys, _ in newest], 3))
        assert torch.equal(values, torch.cat([values for _, values in newest], 2))


def test_room_is_made_seldom():
    cache, places = empty(spare=True), set()
    for _ in range(200):
        cache = cache.with_newest(torch.randn(2, 3, 4, 2), torch.randn(2, 3, 2, 4))
        places.add((cache.keys.data_ptr(), cache.keys.shape[3]))
    assert sorted(size for _, size in places) == [16, 32, 64, 128, 256, 512]


def test_without_room_nothing_given_is_written_over():
    first = empty(spare=False).with_newest(torch.randn(2, 3, 4, 2), torch.randn(2, 3, 2, 4))
    one = first.with_newest(torch.zeros(2, 3, 4, 2), torch.zeros(2, 3, 2, 4))
    first.with_newest(torch.ones(2, 3, 4, 2), torch.ones(2, 3, 2, 4))
    assert not one.taken()[0][..., 2:].any()
    assert not one.taken()[1][:, :, 2:].any()
