"""Configuration of the sequence blocks, kind by kind; torch-free."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from foretell.blocks.checks import check_choice, check_positive

ScanBackend = Literal["auto", "naive", "chunked", "tree"]
"""As in `foretell.blocks.scan.backends`, which imports torch."""


def _refuse_idle(config: Any, when: str, *names: str) -> None:
    """Raise ValueError where one of these options, which do nothing now, was changed."""
    for part in dataclasses.fields(config):
        if part.name in names and getattr(config, part.name) != part.default:
            raise ValueError(f"{part.name} has no effect {when}: drop it")


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
    single_bias: bool = False
    """Keep the hidden bias at zero, as Keras."""

    def __post_init__(self) -> None:
        if self.num_layers == 1:
            _refuse_idle(self, "with num_layers 1", "dropout")


@dataclass(frozen=True)
class LstmConfig(RecurrentConfig):
    """Long short-term memory."""

    forget_bias: float = 0.0
    """Added to the forget gate's bias at initialisation (Keras: 1)."""


@dataclass(frozen=True)
class LsslConfig:
    """Linear state-space layer (2110.13985); the width of y is that of x."""

    state_dim: int = 64
    """N, numbers of state for each channel."""
    num_outputs: int = 1
    """M, answers for each channel before the mixing layer."""
    hippo: Literal["legs", "legt"] = "legs"
    """Initial matrices: the whole past, or a window."""
    legt_scale: float = 1.0
    """Reciprocal of LegT's window; the later s4 code has 0.5."""
    alpha: float = 0.5
    """Of the transform to steps: 0.5 = bilinear, 1 = backward Euler, 0 = Euler."""
    trainable: bool = True
    """False = LSSL-fixed: A and the time steps stay."""
    dt_min: float = 1e-3
    """Shortest time step at initialisation."""
    dt_max: float = 1e-1
    """Longest time step at initialisation."""
    block_size: int = 256
    """Steps that one kernel covers, at most 1024; changes speed and memory alone."""

    def __post_init__(self) -> None:
        if self.hippo != "legt":
            _refuse_idle(self, f"with hippo {self.hippo}", "legt_scale")


@dataclass(frozen=True)
class S4dConfig:
    """Diagonal state-space layer; the width of y is that of x."""

    state_dim: int = 64
    """N, numbers of state for each channel, in conjugate pairs."""
    init: Literal["lin", "inv", "legs", "real"] = "lin"
    """Initial poles."""
    dt_min: float = 1e-3
    """Shortest time step at initialisation."""
    dt_max: float = 1e-1
    """Longest time step at initialisation."""
    block_size: int = 128
    """Steps that one kernel covers, at most 4096; changes speed and memory alone."""


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
    bias: bool = False
    """Of the two projections."""
    conv_bias: bool = True
    """Of the convolution."""
    norm_eps: float = 1e-5
    """Added to the mean square that the output is divided by."""
    per_channel: bool = False
    """A decay for every channel and column, as Mamba-1; slower, for comparison."""
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
    chunk_size: int | None = None
    """Steps of a chunk of the scan; changes speed alone; none = 32 on a CPU, 128 on a GPU."""
    scan_backend: ScanBackend = "auto"
    """Loop, chunks or tree over time; changes speed alone."""

    def __post_init__(self) -> None:
        if self.max_state_norm is None:
            _refuse_idle(self, "without max_state_norm", "norm_every")
        elif self.norm_every == 1:
            _refuse_idle(self, "with a norm at every step", "chunk_size")
        if self.per_channel:
            _refuse_idle(self, "with per_channel", "chunk_size")
        if self.scan_backend in ("naive", "tree"):
            _refuse_idle(self, f"with scan_backend {self.scan_backend}", "chunk_size")


@dataclass(frozen=True)
class AarenConfig:
    """Attention as a recurrence (2405.13956); the width of y is that of x."""

    num_heads: int = 4
    """Heads; must divide the width."""
    feedforward_dim: int | None = None
    """Width of the feed-forward part; none = 4 times the width."""
    pre_norm: bool = True
    """Norms before the two parts; false = after their sums."""
    activation: Literal["relu", "gelu"] = "gelu"
    """Of the feed-forward part."""
    dropout: float = 0.0
    """Of both parts."""
    scan_backend: ScanBackend = "auto"
    """Loop, chunks or tree over time; changes speed alone."""


@dataclass(frozen=True)
class PrefixAttentionConfig:
    """Linear attention after a prefix (2407.05483); the width of y is that of x."""

    num_heads: int = 4
    """Heads; must divide the width unless head_dim is given."""
    feature_dim: int = 16
    """Width d of queries and keys; a head's state has 1 + d + d^2 rows."""
    head_dim: int | None = None
    """Width of a head's values; none = the width / num_heads."""
    scan_backend: ScanBackend = "auto"
    """Loop, chunks or tree over time; changes speed alone."""


@dataclass(frozen=True)
class TitansConfig:
    """Neural memory of Titans alone (2501.00663); the width of y is output_dim or memory_dim."""

    memory_dim: int | None = None
    """Width of queries, keys and values; none = that of x."""
    output_dim: int | None = None
    """Width of y through a linear map; none = what the memory answers."""
    depth: int = 1
    """Layers of the memory; 1 = a matrix."""
    hidden_dim: int | None = None
    """Width between the memory's layers; none = memory_dim."""
    chunk_size: int = 16
    """Tokens whose gradients are taken at one memory; part of the model."""
    conv_width: int | None = 4
    """Taps of the convolution; none = no convolution."""
    silu: bool = True
    """Apply SiLU to queries, keys and values."""
    normalise: bool = True
    """Queries and keys of norm 1."""
    zero_start: bool = False
    """The memory starts from 0; at depth 1 alone."""

    def __post_init__(self) -> None:
        _check_depth(self)


@dataclass(frozen=True)
class TitansContextConfig:
    """Titans' memory as context of attention inside segments (MAC); the width of y is that of x."""

    num_heads: int = 4
    """Heads; must divide the width."""
    segment_size: int = 16
    """Tokens of a segment and of a chunk of the memory; part of the model."""
    num_persistent: int = 4
    """Learned tokens that every token sees."""
    depth: int = 2
    """Layers of the memory."""
    hidden_dim: int | None = None
    """Width between the memory's layers; none = that of x."""
    causal_guard: bool = True
    """False = the published equations to the letter, which leak inside a segment."""
    conv_width: int | None = 4
    """Taps of the memory's convolution; none = no convolution."""
    silu: bool = True
    """Apply SiLU to the memory's queries, keys and values."""
    normalise: bool = True
    """The memory's queries and keys of norm 1."""

    def __post_init__(self) -> None:
        _check_depth(self)


@dataclass(frozen=True)
class TitansWindowConfig:
    """Titans' memory with sliding-window attention (MAG, MAL); the width of y is that of x."""

    num_heads: int = 4
    """Heads; must divide the width."""
    window: int = 64
    """Steps that attention sees, the present one included."""
    num_persistent: int = 4
    """Learned tokens before the first step."""
    depth: int = 2
    """Layers of the memory."""
    hidden_dim: int | None = None
    """Width between the memory's layers; none = that of x."""
    chunk_size: int = 16
    """Tokens whose gradients are taken at one memory; part of the model."""
    conv_width: int | None = 4
    """Taps of the memory's convolution; none = no convolution."""
    silu: bool = True
    """Apply SiLU to the memory's queries, keys and values."""
    normalise: bool = True
    """The memory's queries and keys of norm 1."""

    def __post_init__(self) -> None:
        _check_depth(self)


def _check_depth(config: TitansConfig | TitansContextConfig | TitansWindowConfig) -> None:
    if config.depth == 1:
        _refuse_idle(config, "with depth 1", "hidden_dim")


@dataclass(frozen=True)
class StackConfig:
    """Pre-norm residual layers of one kind, each with weights of its own."""

    num_layers: int | None = None
    """Layers; none = the block alone, without norm and residual."""
    norm: Literal["none", "layer", "rms"] = "layer"
    """Before every part of a layer."""
    residual: bool = True
    """Add a part's input to its output where the widths agree."""
    dropout: float = 0.0
    """Of a part's output; without residual, between the parts."""
    feedforward_dim: int | None = None
    """Width inside an MLP after the block of each layer; none = no MLP."""

    def __post_init__(self) -> None:
        if self.num_layers is None:
            others = [part.name for part in dataclasses.fields(self) if part.name != "num_layers"]
            _refuse_idle(self, "without num_layers", *others)
        check_positive(num_layers=self.num_layers, feedforward_dim=self.feedforward_dim)


Kind = Literal[
    "rnn",
    "rnn_relu",
    "gru",
    "lstm",
    "lssl",
    "s4d",
    "mamba2",
    "aaren",
    "prefix_attention",
    "titans",
    "titans_mac",
    "titans_mag",
    "titans_mal",
]
_BRANCH = {
    "rnn": "recurrent",
    "rnn_relu": "recurrent",
    "gru": "recurrent",
    "titans_mag": "titans_window",
    "titans_mal": "titans_window",
}


@dataclass(frozen=True)
class MixerConfig:
    """One sequence block or a stack of them; of the branches of kinds only the selected one may
    differ from its defaults."""

    kind: Kind = "lstm"
    """Which block."""
    recurrent: RecurrentConfig = field(default_factory=RecurrentConfig)
    """Of rnn, rnn_relu and gru."""
    lstm: LstmConfig = field(default_factory=LstmConfig)
    lssl: LsslConfig = field(default_factory=LsslConfig)
    s4d: S4dConfig = field(default_factory=S4dConfig)
    mamba2: Mamba2Config = field(default_factory=Mamba2Config)
    aaren: AarenConfig = field(default_factory=AarenConfig)
    prefix_attention: PrefixAttentionConfig = field(default_factory=PrefixAttentionConfig)
    titans: TitansConfig = field(default_factory=TitansConfig)
    titans_mac: TitansContextConfig = field(default_factory=TitansContextConfig)
    titans_window: TitansWindowConfig = field(default_factory=TitansWindowConfig)
    """Of titans_mag and titans_mal."""
    stack: StackConfig = field(default_factory=StackConfig)
    """Several layers, of any kind."""

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, Kind)
        chosen = _BRANCH.get(self.kind, self.kind)
        for part in dataclasses.fields(self):
            if part.name in ("kind", "stack", chosen):
                continue
            value = getattr(self, part.name)
            if value != type(value)():
                raise ValueError(
                    f"{part.name} has no effect with kind {self.kind}: drop it, or set another kind"
                )
