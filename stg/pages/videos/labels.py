"""Where the labels of boxes go, so that none covers another."""

from itertools import chain

Rectangle = tuple[float, float, float, float]
"""Left, top, width, height."""


def place_label(
    box: Rectangle, width: float, height: float, room: tuple[float, float], taken: list[Rectangle]
) -> tuple[float, float]:
    """Left and top of the label of a box: at a corner where no other label is, else as near as it is free.

    Args:
        box: what is labelled.
        width, height: of the label.
        room: width and height of the picture; the label lies in it if it fits.
        taken: labels that have a place; this one is added.
    """
    x1, y1, x2, y2 = box[0], box[1], box[0] + box[2], box[1] + box[3]
    right, bottom = max(room[0] - width, 0.0), max(room[1] - height, 0.0)
    # In order of taste: above the box, inside at its top, inside at its bottom, below; left before right.
    corners = [(x, y) for y in (y1 - height, y1, y2 - height, y2) for x in (x1, x2 - width)]
    # Outside of the picture only when no corner is inside; then it is moved in.
    first = [(x, y) for x, y in corners if -1 <= y <= bottom + 1] or corners
    # Then in whole lines up and down: there is a free one unless the picture is full.
    most = round(room[1] / height)
    lines = sorted((y1 + step * height for step in range(-most, most)), key=lambda y: abs(y - y1))
    wanted = chain(first, ((x1, y) for y in lines if 0 <= y <= bottom))
    places = [(min(max(x, 0.0), right), min(max(y, 0.0), bottom)) for x, y in wanted]
    free = (place for place in places if not any(overlap((*place, width, height), other) for other in taken))
    place = next(free, places[0])
    taken.append((*place, width, height))
    return place


def overlap(first: Rectangle, second: Rectangle) -> bool:
    """Whether two rectangles share a point."""
    return all(first[i] < second[i] + second[i + 2] and second[i] < first[i] + first[i + 2] for i in (0, 1))
