"""Figures fit for a paper: vector PDF as wide as a column, type and lines that print, a caption beside it.

    with style(paper):                      # paper: "single", "double", or None for a figure on a screen
        figure, axes = plt.subplots(..., figsize=(WIDTH_IN[paper], height))
        ...
        save(path, figure, paper, caption)

A paper's figure has no title: what is shown, and its numbers, are in the caption, a text file beside the PDF. Fonts are
embedded as TrueType (Type 42), which publishers ask for; those of type 3 are refused by many. The font comes with
matplotlib, so the same data give the same bytes on every machine with that version of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from records.atomic import write_figure, write_file
from serving.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Width = Literal["single", "double"]
WIDTH_IN: dict[Width, float] = {"single": 3.33, "double": 7.0}
"""Inches: a column of a two-column page, and both of them (ACM, IEEE, USENIX within a tenth of an inch)."""

PaperOption = Annotated[
    Width | None,
    Parameter(
        help="Figures for a paper: PDF 3.33 in (single column) or 7 in wide, 8 pt type, no title; the caption and its "
        "numbers in a .txt beside each."
    ),
]

_RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.5,
    "axes.axisbelow": True,
    "axes.labelpad": 2,
    "axes.titlepad": 3,
    "grid.linewidth": 0.3,
    "lines.linewidth": 0.9,
    "lines.markersize": 3,
    "patch.linewidth": 0.4,
    "hatch.linewidth": 0.4,
    "errorbar.capsize": 1.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.3,
    "ytick.minor.width": 0.3,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "xtick.minor.size": 1.2,
    "ytick.minor.size": 1.2,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.0,
    "legend.handletextpad": 0.5,
    "legend.borderaxespad": 0.2,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "axes.unicode_minus": True,
}
_CLOUD_DPI = 450
"""Of point clouds, the one thing that is not drawn as vectors: thousands of them make a page slow to show."""


@contextmanager
def style(paper: Width | None) -> Iterator[None]:
    """Within the block matplotlib draws for a paper; on a screen's figure it has no effect."""
    import matplotlib

    with matplotlib.rc_context(_RC if paper else None):
        yield


def check_name(path: Path, paper: Width | None, option: str) -> None:
    """Errors: ConfigError where a name would lie about what is in the file."""
    if paper and path.suffix.lower() != ".pdf":
        raise ConfigError(f"{option} {path}: with --paper the figure is a PDF; give a name that ends in .pdf")


def suffix(paper: Width | None) -> str:
    """Of a figure's file."""
    return ".pdf" if paper else ".png"


def save(path: Path, figure: "Figure", paper: Width | None, caption: Sequence[str]) -> None:
    """Write the figure, and close it. caption: lines; only for a paper, under the figure's name with .txt.

    Errors: RecordError where a file cannot be written.
    """
    import matplotlib.pyplot as plt

    if paper is None:
        write_figure(path, figure)
    else:
        buffer = BytesIO()
        nothing = dict.fromkeys(("Creator", "Producer", "CreationDate"))
        figure.savefig(buffer, format="pdf", dpi=_CLOUD_DPI, metadata=nothing)
        write_file(path, buffer.getvalue())
        write_file(path.with_suffix(".txt"), ("\n".join(caption) + "\n").encode())
    plt.close(figure)


def letter(place: int) -> str:
    """How a caption names a panel: (a), (b), ..."""
    return f"({chr(ord('a') + place)})" if place < 26 else f"({place + 1})"


def name_panel(axis: "Axes", place: int) -> None:
    axis.set_title(letter(place), loc="left")
