"""Where a loss may stand beside a prefix that is read as a whole (JRT, 2407.05483)."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def prefix_loss_mask(
    prefix_len: int | Int[Tensor, " batch"], time: int
) -> Bool[Tensor, "rows time"]:
    """True at the steps whose outputs see no later input: those after the prefix.

    `PrefixLinearAttention` with `prefix_output="return"` gives outputs inside the prefix that have
    seen all of it. A loss on them that asks for a later input, such as the next step, is solved by
    looking it up; the published loss there hides the tokens that it asks for.

    Args:
        prefix_len: Length of the prefix, of all rows (one row is returned) or of each.
        time: Steps of x.

    Raises:
        ValueError: A prefix that is negative or longer than `time`.

    Example:
        >>> prefix_loss_mask(2, 4)
        tensor([[False, False,  True,  True]])
    """
    sizes = torch.as_tensor(prefix_len).reshape(-1, 1)
    if bool(((sizes < 0) | (sizes > time)).any()):
        raise ValueError(
            f"prefix_len must lie in [0, {time}], the steps of x, got {sizes.flatten().tolist()}"
        )
    return torch.arange(time, device=sizes.device) >= sizes


def check_prefix_loss(
    scored: Bool[Tensor, "batch time"], prefix_len: int | Int[Tensor, " batch"]
) -> None:
    """Refuse a loss on outputs of a prefix that have seen their own future.

    Args:
        scored: Steps that the loss counts.
        prefix_len: As `forward` was given it.

    Raises:
        ValueError: A scored step lies inside its row's prefix, or `prefix_loss_mask` refuses.
    """
    seen = scored & ~prefix_loss_mask(prefix_len, scored.shape[1]).to(scored.device)
    if bool(seen.any()):
        row, step = seen.nonzero()[0].tolist()
        raise ValueError(
            f"scored must be False inside the prefix, where outputs see later steps, got True at "
            f"step {step} of row {row}: score scored & prefix_loss_mask(prefix_len, time)"
        )
