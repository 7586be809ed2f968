"""Softmax attention with learned tokens that every query sees."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.checks import check_positive


class PersistentAttention(nn.Module):
    """o = W_o sum_j softmax(q . k_j / sqrt(head_dim))_j v_j per head.

    j runs over the keys that the caller shows and over `num_persistent` learned tokens.

    Args:
        input_dim: Width of x and o.
        num_heads: Heads, a divisor of input_dim.
        num_persistent: Learned tokens.
    """

    def __init__(self, input_dim: int, num_heads: int, *, num_persistent: int = 0) -> None:
        super().__init__()
        check_positive(input_dim=input_dim)
        if num_heads < 1 or input_dim % num_heads:
            raise ValueError(f"num_heads must divide input_dim {input_dim}, got {num_heads}")
        if num_persistent < 0:
            raise ValueError(f"num_persistent must be at least 0, got {num_persistent}")
        self.num_heads = num_heads
        self.persistent = nn.Parameter(torch.empty(num_persistent, input_dim))
        self.query, self.key, self.value, self.output = (
            nn.Linear(input_dim, input_dim, bias=False) for _ in range(4)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Matrices Glorot uniform, persistent tokens from N(0, 1)."""
        nn.init.normal_(self.persistent)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return f"num_heads={self.num_heads}, num_persistent={len(self.persistent)}"

    def project_queries(
        self, x: Float[Tensor, "batch time width"], dtype: torch.dtype
    ) -> Float[Tensor, "batch time width"]:
        """q of every step."""
        q: Tensor = self.query(x.to(self.query.weight.dtype))
        return q.to(dtype)

    def project_keys(
        self, x: Float[Tensor, "batch time width"], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "batch time width"], Float[Tensor, "batch time width"]]:
        """k and v of every step."""
        x = x.to(self.key.weight.dtype)
        return self.key(x).to(dtype), self.value(x).to(dtype)

    def attend(
        self,
        q: Float[Tensor, "rows queries width"],
        k: Float[Tensor, "rows keys width"],
        v: Float[Tensor, "rows keys width"],
        seen: Bool[Tensor, "rows queries keys"],
    ) -> Float[Tensor, "rows queries width"]:
        """Softmax over the seen keys and the persistent ones; `project_output` comes after."""
        token = self.persistent.to(q)
        always = [
            functional.linear(token, layer.weight.to(q)).expand(q.shape[0], -1, -1)
            for layer in (self.key, self.value)
        ]
        seen = functional.pad(seen, (len(token), 0), value=True)
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (q, torch.cat([always[0], k], 1), torch.cat([always[1], v], 1))
        )
        scores = (q @ k.mT) * q.shape[-1] ** -0.5
        shares = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
        mixed: Tensor = (shares @ v).transpose(1, 2).flatten(2)
        return mixed

    def project_output(
        self, mixed: Float[Tensor, "rows queries width"], dtype: torch.dtype
    ) -> Float[Tensor, "rows queries width"]:
        """o of every query."""
        o: Tensor = self.output(mixed.to(self.output.weight.dtype))
        return o.to(dtype)
