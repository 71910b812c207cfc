"""The categories of COCO (Lin et al., 2014), whose numbers detectors give: without torchvision, slow to import."""

NEVER_USED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Category ids that no object has, between those that objects have."""

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors,
teddy bear, hair drier, toothbrush
"""


def _by_id() -> tuple[str, ...]:
    names = iter(" ".join(_NAMES.split()).split(", "))
    return ("", *("" if number in NEVER_USED else next(names) for number in range(1, 91)))


NAMES = _by_id()
"""The name of each category id from 0, the background, to 90; empty for what is none."""
