"""What declared columns add to a network of tokens: to every token, and to the forecast."""

from jaxtyping import Float
from torch import Tensor, nn

from forecasting.data.covariates import Covariates, CovariateSizes
from forecasting.patches import cut_patches


class CovariatePath(nn.Module):
    """Patches of past columns and static columns are added to the tokens by linear maps; columns
    known ahead to the normalised forecast, each step seeing all steps of them.

    Args:
        sizes: How much there is of each kind.
        patches: Length and stride of the tokens' patches; none = a token is a step.
        dim: Width of a token.
        horizon: Numbers of the forecast.
    """

    def __init__(
        self, sizes: CovariateSizes, *, patches: tuple[int, int] | None, dim: int, horizon: int
    ) -> None:
        super().__init__()
        self.patches = patches
        self.past = self.static = self.ahead = None
        if sizes.past:
            self.past = nn.Linear(sizes.past * (patches or (1, 1))[0], dim, bias=False)
        if sizes.static:
            self.static = nn.Linear(sizes.static, dim, bias=False)
        if sizes.future:
            self.ahead = nn.Linear(sizes.future, horizon, bias=False)

    def tokens(
        self, tokens: Float[Tensor, "series tokens dim"], covariates: Covariates
    ) -> Float[Tensor, "series tokens dim"]:
        """Tokens of the target with those of the columns added; windows have one channel."""
        if self.past is not None:
            columns = covariates.past.transpose(1, 2)
            pieces = columns[..., None]
            if self.patches is not None:
                pieces = cut_patches(columns, *self.patches)
            tokens = tokens + self.past(pieces.transpose(1, 2).flatten(2))
        if self.static is not None:
            tokens = tokens + self.static(covariates.static)[:, None]
        return tokens

    def forecast(
        self, normed: Float[Tensor, "batch horizon 1"], covariates: Covariates
    ) -> Float[Tensor, "batch horizon 1"]:
        """The normalised forecast with what the known columns add."""
        if self.ahead is not None:
            normed = normed + self.ahead(covariates.future.flatten(1))[..., None]
        return normed
