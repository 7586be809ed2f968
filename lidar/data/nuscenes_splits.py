"""The official nuScenes scene lists (facts of the devkit's `utils/splits.py`).

Of the 850 labelled scenes those outside `val` are `train`; `test` scenes come in their own version.
"""

_VAL = (
    "3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 "
    "632-638 770-771 775 777-778 780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 "
    "1059-1073"
)
_TEST = (
    "77-91 111-119 140 142-148 265-266 279-282 307-314 333-343 481-498 547-551 601-604 606-624 "
    "827-831 833-842 844-846 932-933 935-943 1026-1043"
)
_MINI_TRAIN = "61 553 655 757 796 1077 1094 1100"
_MINI_VAL = "103 916"


def _scenes(ranges: str) -> frozenset[str]:
    numbers: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return frozenset(f"scene-{number:04d}" for number in numbers)


def official_splits(scenes: list[str]) -> dict[str, list[str]]:
    """Distribute the scenes of a version over the official splits; empty splits are left out."""
    val, test = _scenes(_VAL), _scenes(_TEST)
    mini_train, mini_val = _scenes(_MINI_TRAIN), _scenes(_MINI_VAL)
    splits = {
        "train": [name for name in scenes if name not in val and name not in test],
        "val": [name for name in scenes if name in val],
        "test": [name for name in scenes if name in test],
        "mini_train": [name for name in scenes if name in mini_train],
        "mini_val": [name for name in scenes if name in mini_val],
    }
    return {name: members for name, members in splits.items() if members}
