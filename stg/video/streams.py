"""Which streams of a file are its film and its sound, where there are several."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PREVIEW = 1 / 4
"""A stream with a smaller share of the pixels of the largest one is a preview."""

THUMBNAILS = 1 / 4
"""A stream with a smaller share of the packets of the longest one is a track of thumbnails."""


def films(container: Any) -> list[Any]:
    """The video streams that are no pictures on the side (cover art, thumbnails by their mark)."""
    import av

    aside = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return [item for item in container.streams.video if not item.disposition & aside]


def packet_counts(container: Any, streams: Sequence[Any]) -> Mapping[int, int]:
    """Index -> packets of each of the streams, read to the end or to where the file breaks off."""
    return Counter(packet.stream.index for packet in read_packets(container, *streams) if packet.size)


def read_packets(container: Any, *streams: Any) -> Iterator[Any]:
    """The packets of the streams, to the end or to where the file breaks off."""
    import av

    try:
        yield from container.demux(*streams)
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, IndexError):  # IndexError: PyAV, where damage reads as one more stream
        return


def decoded_packets(container: Any, stream: Any, *damage: type[Exception]) -> Iterator[tuple[Any, list[Any] | None]]:
    """Every packet with the frames that came out of it; None where it could not be decoded.

    Args:
        damage: errors that say so as well as those of FFmpeg and of the system do.
    """
    import av

    for packet in read_packets(container, stream):
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, *damage):
            frames = None
        yield packet, frames


def best_film(streams: Sequence[Any], packets: Mapping[int, int]) -> Any:
    """The film among several video streams: neither a thumbnail nor a preview; the default one, else the largest."""
    import av

    default = av.stream.Disposition.default
    able = [item for item in streams if item.codec_context is not None]
    if not able:  # of what cannot be decoded not even the size is known
        return streams[0]
    longest = max(packets.get(item.index, 0) for item in able)
    able = [item for item in able if packets.get(item.index, 0) >= THUMBNAILS * longest]
    largest = max(item.width * item.height for item in able)
    able = [item for item in able if item.width * item.height >= PREVIEW * largest]
    # Of equals the first: `max` keeps it.
    return max(able, key=lambda item: (bool(item.disposition & default), item.width * item.height))


def best_sound(container: Any, film: Any | None) -> Any | None:
    """The sound that players take: of the film's programme, the default one, not one for the impaired."""
    able = [item for item in container.streams.audio if item.codec_context is not None]
    best = container.streams.best("audio", related=film) if len(able) > 1 else None
    return best if best is not None and best.codec_context is not None else next(iter(able), None)
