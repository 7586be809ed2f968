"""Configuration of the sequence blocks, kind by kind; torch-free."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class RecurrentConfig:
    """RNN or GRU."""

    hidden_dim: int = 64
    """Width of the state of a layer and direction."""
    num_layers: int = 1
    """Layers."""
    bidirectional: bool = False
    """A second recurrence from the end; not causal."""
    dropout: float = 0.0
    """Between layers."""
    recurrent_dropout: float = 0.0
    """Of the state that the gates see, one mask for all steps."""
    orthogonal_recurrent: bool = False
    """Orthogonal hidden-to-hidden matrices at initialisation."""


@dataclass(frozen=True)
class LstmConfig(RecurrentConfig):
    """Long short-term memory."""

    forget_bias: float = 0.0
    """Added to the forget gate's bias at initialisation (Keras: 1)."""
    single_bias: bool = False
    """Keep the hidden bias at zero, as Keras."""


@dataclass(frozen=True)
class LsslConfig:
    """Linear state-space layer (2110.13985); the width of y is that of x."""

    state_dim: int = 64
    """N, numbers of state for each channel."""
    num_outputs: int = 1
    """M, answers for each channel before the mixing layer."""
    hippo: Literal["legs", "legt"] = "legs"
    """Initial matrices."""
    trainable: bool = True
    """False = LSSL-fixed: A and the time steps stay."""


@dataclass(frozen=True)
class S4dConfig:
    """Diagonal state-space layer; the width of y is that of x."""

    state_dim: int = 64
    """N, numbers of state for each channel, in conjugate pairs."""
    init: Literal["lin", "inv", "legs", "real"] = "lin"
    """Initial poles."""


@dataclass(frozen=True)
class Mamba2Config:
    """State-space dual layer of Mamba-2 (2405.21060); the width of y is that of x."""

    state_dim: int = 64
    """N, numbers of state for each channel."""
    expand: int = 2
    """Inner width over outer width."""
    head_dim: int = 16
    """P, channels of a head; must divide the inner width."""
    num_groups: int = 1
    """Groups of heads that share B and C."""
    conv_width: int = 4
    """Taps of the causal convolution."""
    decay_scale: float = 1.0
    """Forget more: at least 1 (2410.07145)."""
    input_scale: float = 1.0
    """Remember less: at most 1."""
    max_state_norm: float | None = None
    """Bound of the norm of a head's state."""
    norm_every: int = 1
    """Steps between normalisations."""
    window: int | None = None
    """Inputs that the state remembers."""
    chunk_size: int = 32
    """Steps of a chunk of the scan; changes speed alone."""


@dataclass(frozen=True)
class AarenConfig:
    """Attention as a recurrence (2405.13956); the width of y is that of x."""

    num_heads: int = 4
    """Heads; must divide the width."""
    feedforward_dim: int | None = None
    """Width of the feed-forward part; none = 4 times the width."""
    dropout: float = 0.0
    """Of both parts."""


Kind = Literal["rnn", "rnn_relu", "gru", "lstm", "lssl", "s4d", "mamba2", "aaren"]
_BRANCH = {"rnn": "recurrent", "rnn_relu": "recurrent", "gru": "recurrent"}


@dataclass(frozen=True)
class MixerConfig:
    """One sequence block; only the branch that `kind` selects may differ from its defaults."""

    kind: Kind = "lstm"
    """Which block."""
    recurrent: RecurrentConfig = field(default_factory=RecurrentConfig)
    """Of rnn, rnn_relu and gru."""
    lstm: LstmConfig = field(default_factory=LstmConfig)
    lssl: LsslConfig = field(default_factory=LsslConfig)
    s4d: S4dConfig = field(default_factory=S4dConfig)
    mamba2: Mamba2Config = field(default_factory=Mamba2Config)
    aaren: AarenConfig = field(default_factory=AarenConfig)

    def __post_init__(self) -> None:
        chosen = _BRANCH.get(self.kind, self.kind)
        for part in dataclasses.fields(self):
            if part.name in ("kind", chosen):
                continue
            value = getattr(self, part.name)
            if value != type(value)():
                raise ValueError(
                    f"{part.name} has no effect with kind {self.kind}: drop it, or set another kind"
                )
