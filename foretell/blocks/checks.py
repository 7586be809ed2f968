"""What the constructors of the blocks refuse; torch-free."""

from typing import get_args


def check_choice(name: str, value: object, allowed: object) -> None:
    """Raise ValueError unless the value is one of those of a `Literal`.

    Example:
        >>> from typing import Literal
        >>> check_choice("pool", "men", Literal["mean", "last"])
        Traceback (most recent call last):
        ValueError: pool must be one of 'mean', 'last', got 'men'
    """
    choices = get_args(allowed)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_positive(**sizes: int | None) -> None:
    """Raise ValueError unless every size is at least 1; None stands for a default.

    Example:
        >>> check_positive(num_layers=1, head_dim=0)
        Traceback (most recent call last):
        ValueError: head_dim must be at least 1, got 0
    """
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def check_dropout(**rates: float) -> None:
    """Raise ValueError unless every rate lies in [0, 1).

    Example:
        >>> check_dropout(dropout=1.0)
        Traceback (most recent call last):
        ValueError: dropout must lie in [0, 1), got 1
    """
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {rate:g}")
