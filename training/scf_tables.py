"""Tables of SCF runs from predicted densities, and of energies and forces without SCF, from benchmarks/scf_cycles.py."""

GUESS = "minao"
OTHERS = ("1e", "atom", "huckel", "label")
FEWEST = 2  # molecules of one size that have a row


def cycle_table(result: dict | None) -> str:
    """Cycles and seconds of each group of molecules and model; result: scf_cycles.json."""
    if result is None:
        return "No SCF has been run from predictions yet."
    heads = ["cycles", GUESS, "ratio", *OTHERS, f"seconds / {GUESS}", "same energy", "SCF / prediction"]
    lines = [f"| molecules | model | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for name, group in sorted(result["summary"].items(), key=order):
        if "heavy" in name and group["molecules"] < FEWEST:
            continue
        starts = group["starts"]
        for model, mean in group["models"].items():
            cells = [f"{mean['cycles']:.1f}", f"{starts[GUESS]['cycles']:.1f}", f"{mean['cycles_ratio'][GUESS]:.2f}"]
            cells += [f"{starts[other]['cycles']:.1f}" if other in starts else "-" for other in OTHERS]
            cells += [f"{mean['seconds_ratio'][GUESS]:.2f}", f"{mean['same_energy']:.0%}", f"{mean['scf_over_prediction']:.0f}"]
            lines.append(f"| {name} ({group['molecules']}) | {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def density_table(result: dict | None) -> str:
    """Errors of energies and forces of the predicted density against those of the SCF; result: scf_cycles.json --forces."""
    heads = ["E[D] - E", "estimated", "forces", "without response", "size of forces", "seconds"]
    lines = [f"| molecules | model | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for name, group in sorted((result or {"summary": {}})["summary"].items(), key=order):
        for model, mean in group["models"].items():
            density = mean.get("density")
            if density is None or "heavy" in name:
                continue
            seconds = sum(density[f"{part}_seconds"] for part in ("prediction", "functional", "gradient", "response"))
            cells = [f"{density[key]:.2f}" for key in ("energy_error", "estimated_energy_error")]
            cells += [f"{density[key]:.0f}" for key in ("force_mae", "force_mae_without_response", "force_size")]
            lines.append(f"| {name} ({group['molecules']}) | {model} | {' | '.join(cells)} | {seconds:.1f} |")
    return "\n".join(lines) if len(lines) > 2 else "No forces have been measured yet."


def order(group) -> tuple[int, str]:
    """Splits, all, then by size: '10 heavy atoms' after '9 heavy atoms'."""
    name = group[0]
    return (int(name.split()[0]), "") if "heavy" in name else (0 if name == "all" else -1, name)
