"""`python -m training.curves RUN... -o FILE`: the curves of training runs as a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from training.shell import extras, in_one_line

with extras():
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

from training.loop import HELD, LOG_FILE

SMOOTHED_OVER = 15
"""Lines of the log; what is learned from is noisy, what is held out is drawn as it is."""

SHARES = ("accuracy",)
"""Held-out terms are drawn in the colour of the term that is learned; shares are no losses and are left out."""

Lines = dict[str, list[tuple[int, float]]]


def curves(log: Path) -> Lines:
    """(step, value) of each term of a log."""
    lines: Lines = {}
    for line in log.read_text("utf-8").splitlines():
        row = json.loads(line)
        step = row.pop("step")
        for name, value in row.items():
            lines.setdefault(name, []).append((step, value))
    return lines


def draw(logs: list[Path], output: Path) -> None:
    """One axis for each run."""
    figure = Figure(figsize=(6 * len(logs), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, log in zip(np.atleast_1d(figure.subplots(1, len(logs))), logs, strict=True):
        lines = {name: points for name, points in curves(log).items() if not name.endswith(SHARES)}
        colours = {term: f"C{i}" for i, term in enumerate(dict.fromkeys(map(_term, lines)))}
        for name, points in lines.items():
            at, values = np.array(points).T
            if name.startswith(HELD):
                axis.plot(
                    at, values, "o-", markersize=3, color=colours[_term(name)], label=name.replace("_", " ")
                )
            else:
                window = np.ones(min(SMOOTHED_OVER, len(values)))
                smooth = np.convolve(values, window, "valid") / len(window)
                last = at[len(at) - len(smooth) :]
                axis.plot(last, smooth, linewidth=1, alpha=0.6, color=colours[_term(name)], label=name)
        axis.set(title=log.parent.name, xlabel="steps", yscale="log")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, frameon=False, ncol=2)
    figure.savefig(output, dpi=110)


def _term(name: str) -> str:
    return name.removeprefix(HELD)


@in_one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    draw([run / LOG_FILE for run in args.runs], args.output)


if __name__ == "__main__":
    main()
