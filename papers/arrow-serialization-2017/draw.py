"""Draws the article's figure from what `mobula-bench codec --json` measured: draw.py MEASURED.json FIGURE.png"""
import json
import re
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# The article's titles, in its order.
TITLES = {
    "arrays": "List of large numpy arrays",
    "dict_arrays": "Dictionary of large numpy arrays",
    "dict_sets": "Large dictionary of small sets",
    "strings": "Large list of strings",
}
PARTS = ["serialize", "deserialize"]


def bars(row):
    """Milliseconds of pickle, Mobula and postcard; none where something was not measured."""
    postcard = re.search(r"postcard ([0-9.]+) ms", row["note"] or "")
    return [row["baseline_value"], row["value"], float(postcard[1]) if postcard else None]


def main(measured, figure):
    with open(measured, encoding="utf-8") as file:
        report = json.load(file)
    rows = {row["name"]: bars(row) for row in report["rows"]}
    plots = plt.subplots(1, len(TITLES), figsize=(14, 3.6), sharey=True, layout="constrained")
    for axes, (name, title) in zip(plots[1], TITLES.items()):
        for place, (label, colour) in enumerate([("pickle 5", "r"), ("Mobula", "c"), ("postcard", "0.6")]):
            heights = [rows[f"seed4.{name}.{part}"][place] for part in PARTS]
            at = [group + (place - 1) * 0.27 for group in range(len(PARTS)) if heights[group] is not None]
            drawn = axes.bar(at, [h for h in heights if h is not None], 0.27, color=colour, alpha=0.6, label=label)
            axes.bar_label(drawn, fmt="%.3g", fontsize=7)
        axes.set_title(title, fontweight="bold", fontsize=10)
        axes.set_yscale("log")
        axes.set_xticks(range(len(PARTS)), ["serialization", "deserialization"])
    plots[1][0].set_ylabel("milliseconds")
    plots[1][-1].legend(fontsize=8)
    machine = report["machine"]
    plots[0].supxlabel(f"{machine['cores']} cores, {machine['kernel']}, commit {report['commit']}", fontsize=7)
    plt.savefig(figure, format="png", dpi=110, metadata={"Software": None})


main(*sys.argv[1:])
