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
