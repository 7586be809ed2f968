"""Published errors of long-term forecasting, MSE and MAE at horizons 96, 192, 336, 720.

LTSF-Linear: 2205.13504, table 2 (context 336). PatchTST/64: 2211.14730, table 3 (context 512).
S2IP-LLM: 2403.05798, table 1 (context 512). Their loaders drop the last incomplete batch of the
test, which moves some values in the second digit.
"""

from collections.abc import Mapping

HORIZONS = (96, 192, 336, 720)
Pairs = tuple[tuple[float, float], ...]
PUBLISHED: Mapping[tuple[str, str, int], Pairs] = {
    ("ETTh1", "dlinear", 336): ((0.375, 0.399), (0.405, 0.416), (0.439, 0.443), (0.472, 0.490)),
    ("ETTm1", "dlinear", 336): ((0.299, 0.343), (0.335, 0.365), (0.369, 0.386), (0.425, 0.421)),
    ("weather", "dlinear", 336): ((0.176, 0.237), (0.220, 0.282), (0.265, 0.319), (0.323, 0.362)),
    ("ETTh1", "nlinear", 336): ((0.374, 0.394), (0.408, 0.415), (0.429, 0.427), (0.440, 0.453)),
    ("ETTm1", "nlinear", 336): ((0.306, 0.348), (0.349, 0.375), (0.375, 0.388), (0.433, 0.422)),
    ("weather", "nlinear", 336): ((0.182, 0.232), (0.225, 0.269), (0.271, 0.301), (0.338, 0.348)),
    ("ETTh1", "patchtst", 512): ((0.370, 0.400), (0.413, 0.429), (0.422, 0.440), (0.447, 0.468)),
    ("ETTm1", "patchtst", 512): ((0.293, 0.346), (0.333, 0.370), (0.369, 0.392), (0.416, 0.420)),
    ("weather", "patchtst", 512): ((0.149, 0.198), (0.194, 0.241), (0.245, 0.282), (0.314, 0.334)),
    ("ETTh1", "s2ip", 512): ((0.366, 0.396), (0.401, 0.420), (0.412, 0.431), (0.440, 0.458)),
    ("ETTm1", "s2ip", 512): ((0.288, 0.346), (0.323, 0.365), (0.359, 0.390), (0.403, 0.418)),
    ("weather", "s2ip", 512): ((0.145, 0.195), (0.190, 0.235), (0.243, 0.280), (0.312, 0.326)),
}


def published(data: str, model: str, context: int, horizon: int) -> tuple[float, float] | None:
    """(MSE, MAE), none where nothing is published for that context."""
    pairs = PUBLISHED.get((data, model, context))
    if pairs is None or horizon not in HORIZONS:
        return None
    return pairs[HORIZONS.index(horizon)]
