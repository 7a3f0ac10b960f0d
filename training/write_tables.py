"""Write the tables of the documents from the json files in benchmarks/results; --check fails if they are out of date."""

import argparse
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
COLUMNS = (
    ("structures", "structures", "{:.0f}"),
    ("H MAE", "mae_all", "{:.2f}"),
    ("aligned", "mae_gauge", "{:.2f}"),
    ("on-site", "mae_onsite", "{:.2f}"),
    ("bands RMSE", "band_rmse", "{:.2f}"),
    ("aligned", "band_rmse_gauge", "{:.2f}"),
    ("max", "band_max", "{:.1f}"),
)


def model_table() -> str:
    """Errors of the embedded models."""
    blocks = []
    for path in sorted(RESULTS.glob("*-pbe.json")):
        result = json.loads(path.read_text())
        lines = [f"`{result['model']}`: {result['description']} (meV)", ""]
        lines.append("| test set | " + " | ".join(title for title, *_ in COLUMNS) + " |")
        lines.append("|---|" + "---|" * len(COLUMNS))
        for group, figures in result["groups"].items():
            lines.append(f"| {group} | " + " | ".join(form.format(figures[key]) for _, key, form in COLUMNS) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def ablation_table() -> str:
    """What TraceGrad gained at a fixed short budget."""
    result = json.loads((RESULTS / "ablation_tracegrad.json").read_text())
    keys = ("displaced 2x2 mae_all", "displaced 2x2 mae_onsite", "displaced 3x3 mae_all", "displaced 3x3 band_rmse_gauge")
    lines = [
        "| variant | parameters | CPU s | 2x2: H MAE | 2x2: on-site | 3x3: H MAE | 3x3: bands, aligned |",
        "|---|" + "---|" * 6,
    ]
    for variant, entry in result["summary"].items():
        cells = [f"{entry[key]['mean']:.2f} ± {entry[key]['std'] or 0:.2f}" for key in keys]
        lines.append(f"| {variant} | {entry['parameters']} | {entry['cpu_seconds']:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


TABLES = {"README.md": {"models": model_table}, "docs/training.md": {"ablation": ablation_table}}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    for document, tables in TABLES.items():
        path = ROOT / document
        text = new = path.read_text()
        for name, make in tables.items():
            pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
            new = re.sub(pattern, lambda m, make=make: m[1] + make() + "\n" + m[2], new, flags=re.DOTALL)
        if new == text:
            continue
        if options.check:
            parser.exit(1, f"{document} is out of date: run python training/write_tables.py\n")
        path.write_text(new)


if __name__ == "__main__":
    main()
