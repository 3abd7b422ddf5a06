"""Draw bench/results.json as docs/performance.svg, and put the table into docs/performance.md."""

from __future__ import annotations

import json
import math
import os
import sys
from html import escape

HERE = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(os.path.dirname(HERE), "docs")
BEGIN, END = "<!-- table: begin (python bench/plot.py) -->\n", "<!-- table: end -->\n"
LEFT, WIDTH, STEP = 400, 900, 34


def main() -> int:
    with open(os.path.join(HERE, "results.json"), encoding="utf-8") as file:
        results = json.load(file)
    with open(os.path.join(DOCS, "performance.svg"), "w", encoding="utf-8") as file:
        file.write(drawing([row for row in results["rows"] if row.get("ratio") and row["peer"].split()[-1] != "jail"]))
    path = os.path.join(DOCS, "performance.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + table(results) + END + after)
    return 0


def table(results: dict) -> str:
    """Return the rows as a table in Markdown."""
    machine = results["machine"]
    lines = [f"Python {machine['python']}, {machine['machine']}, {machine['cpus']} processors.\n\n"]
    lines.append("| work | banguard | beside it | ratio |\n|---|---|---|---|\n")
    for row in results["rows"]:
        note = f" ({row['note']})" if row.get("note") else ""
        theirs = f"{row['peer']}: {number(row['theirs'])}" if "theirs" in row else ""
        ratio = f"{row['ratio']:.3g}" if "ratio" in row else ""
        lines.append(f"| {row['what']}{note} | {number(row['ours'])} {row['unit']} | {theirs} | {ratio} |\n")
    return "".join(lines)


def number(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def drawing(rows: list[dict]) -> str:
    """Return a drawing of the ratios as bars, on a logarithmic scale from 0.1 to 1000."""
    height = STEP * len(rows) + 60
    scale = (WIDTH - LEFT - 60) / 4
    zero = LEFT + scale
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="12">\n',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n',
    ]
    for power in range(-1, 4):
        x = zero + power * scale
        parts.append(f'<line x1="{x:.0f}" y1="20" x2="{x:.0f}" y2="{height - 30}" stroke="#ccc"/>\n')
        parts.append(f'<text x="{x:.0f}" y="{height - 14}" text-anchor="middle">{10.0**power:g}×</text>\n')
    for place, row in enumerate(rows):
        y = 30 + place * STEP
        length = math.log10(max(0.1, min(1000.0, row["ratio"]))) * scale
        start, colour = (zero, "#2a7") if length >= 0 else (zero + length, "#c55")
        parts.append(f'<text x="{LEFT - 8}" y="{y + 8}" text-anchor="end">{escape(row["what"])}</text>\n')
        peer = escape(f"beside {row['peer']}")
        parts.append(f'<text x="{LEFT - 8}" y="{y + 21}" text-anchor="end" fill="#777" font-size="10">{peer}</text>\n')
        parts.append(f'<rect x="{start:.1f}" y="{y}" width="{abs(length):.1f}" height="16" fill="{colour}"/>\n')
        parts.append(f'<text x="{max(zero, zero + length) + 6:.1f}" y="{y + 12}">{row["ratio"]:.3g}×</text>\n')
    return "".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    sys.exit(main())
