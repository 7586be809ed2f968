"""GIF files that stay below a size."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foretell.run import atomic_write
from lidar.figures.style import gif_colours

if TYPE_CHECKING:
    from PIL.Image import Image

_DPI_STEPS = (160, 144, 128, 114, 102, 90, 80, 70, 60)
_SAMPLE_STRIDE = 8


def save_gif(
    path: Path,
    draw: "Callable[[int, int], Image]",
    num_frames: int,
    *,
    frame_s: float,
    max_bytes: int,
) -> Path:
    """Write a looping GIF at the finest resolution that fits.

    Args:
        path: File to write.
        draw: Draws frame i at so many pixels per inch.
        num_frames: Number of frames.
        frame_s: Seconds each frame stands; browsers show none shorter than 0.02.
        max_bytes: Largest file.

    Raises:
        ValueError: If the coarsest resolution does not fit either.
    """
    for dpi in _DPI_STEPS:
        sample = [draw(i, dpi) for i in range(0, num_frames, _SAMPLE_STRIDE)]
        expected = len(encode_gif(sample, frame_s=frame_s)) / len(sample) * num_frames
        if expected > max_bytes:
            continue
        content = encode_gif([draw(i, dpi) for i in range(num_frames)], frame_s=frame_s)
        if len(content) <= max_bytes:
            atomic_write(path, content)
            return Path(path)
    raise ValueError(f"{num_frames} frames do not fit into max_bytes={max_bytes}: draw fewer")


def encode_gif(images: "Sequence[Image]", *, frame_s: float) -> bytes:
    """Frames of one size as a looping GIF in the colours of the house style, undithered."""
    from PIL import Image

    palette = Image.new("P", (1, 1))
    palette.putpalette(gif_colours().ravel().tolist())
    indexed = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=max(20, round(frame_s * 1000)),
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()
