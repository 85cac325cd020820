"""What the rows of engines.py amount to: speed-ups, targets, and the table."""

from __future__ import annotations

from typing import Any

TARGETS = (
    ("ediffiqa-s", (112, 112), 8, ("int8",), 3.0),
    ("ediffiqa-t", (112, 112), 8, ("int8", "bf16"), 3.0),
    ("yunet-n", (352, 640), 1, ("int8", "bf16"), 2.0),
    ("centerface", (352, 640), 1, ("int8", "bf16"), 2.5),
)


def compared(rows: list[dict[str, Any]], rates: dict[str, float]) -> None:
    """Adds the floor, and the speed-up over onnxruntime fp32: at batch 1, and at the same batch."""
    base = {
        (row["model"], tuple(row["size"]), row["batch"]): row["ms"]
        for row in rows
        if row["engine"] == "onnxruntime" and row["graph"] == "fp32" and "ms" in row
    }
    for row in rows:
        rate = rates["int8" if row["graph"] == "int8" else row["arithmetic"]]
        row["floor_ms"] = row["mmacs"] / rate * 1e9 if "mmacs" in row and rate else None
        for key, batch in (("over_batch_1", 1), ("over_same_batch", row["batch"])):
            reference = base.get((row["model"], tuple(row["size"]), batch))
            row[key] = reference / row["ms"] if reference and "ms" in row else None


def targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each target against the fastest row that may count: not one that the gate refused."""
    results = []
    for model, size, batch, graphs, wanted in TARGETS:
        able = [
            row
            for row in rows
            if (row["model"], tuple(row["size"]), row["batch"]) == (model, size, batch)
            and row["graph"] in graphs
            and row.get("over_batch_1")
            and row["gate"] in ("passed", "none")
        ]
        # Against the better of onnxruntime's two figures, so that batching alone reaches nothing.
        best = max(able, key=_least_speed_up, default=None)
        got = None if best is None else _least_speed_up(best)
        results.append(
            {
                "target": f"{model} {size[1]}×{size[0]}, batch {batch}, {' or '.join(graphs)}",
                "wanted": wanted,
                "got": got,
                "reached": got is not None and got >= wanted,
                "onnxruntime_ms": None if best is None or got is None else best["ms"] * got,
                **({} if best is None else {key: best.get(key) for key in _OF_THE_BEST}),
            }
        )
    return results


_OF_THE_BEST = ("engine", "graph", "arithmetic", "gate", "ms", "floor_ms")


def _least_speed_up(row: dict[str, Any]) -> float:
    return float(min(row["over_batch_1"], row["over_same_batch"]))


def summary(record: dict[str, Any]) -> str:
    """For the README: each target, who reaches which multiple, and what arithmetic alone would take."""
    text = (
        "| network, input, precisions allowed | onnxruntime fp32, ms an image | fastest here | ms an image "
        "| times as fast (wanted) | arithmetic alone, ms |\n" + "|---" * 6 + "|\n"
    )
    for target in record["targets"]:
        if target["got"] is None:
            text += f"| {target['target']} | | not measured | | (≥ {target['wanted']:g}) | |\n"
            continue
        rest = "" if target["graph"] != "int8" else f", the rest {target['arithmetic']}"
        floor = "" if target["floor_ms"] is None else f"{target['floor_ms']:.2f}"
        missed = "" if target["reached"] else ", missed"
        text += (
            f"| {target['target']} | {target['onnxruntime_ms']:.2f} "
            f"| {target['engine']} {target['graph']}{rest} | {target['ms']:.2f} "
            f"| **{target['got']:.2f}** (≥ {target['wanted']:g}{missed}) | {floor} |\n"
        )
    return text


def markdown(record: dict[str, Any]) -> str:
    def shown(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    rates = ", ".join(f"{kind} {rate / 1e9:.0f}" for kind, rate in record["gmacs"].items() if rate)
    text = (
        f"{record['machine']}, {record['threads'] or 'all'} threads, load {record['load_average']:.1f}. "
        f"Matrix product, 10⁹ multiply-accumulates a second: {rates}; the floor is by that rate, which wide "
        f"layers can exceed (over 100 % of the floor).\n\n{summary(record)}\n"
        "| model | size | batch | engine | graph, arithmetic | ms an image | × ORT fp32 batch 1 "
        "| × ORT fp32 same batch | floor ms | of the floor | gate |\n" + "|---" * 11 + "|\n"
    )
    for row in record["rows"]:
        floor = row.get("floor_ms")
        share = floor / row["ms"] if floor and "ms" in row else None
        text += (
            f"| {row['model']} | {row['size'][1]}×{row['size'][0]} | {row['batch']} | {row['engine']} "
            f"| {row['graph']}, {row['arithmetic']} | {shown(row.get('ms'), '.3f') or row.get('error')} "
            f"| {shown(row['over_batch_1'], '.2f')} | {shown(row['over_same_batch'], '.2f')} "
            f"| {shown(floor, '.3f')} | {shown(share, '.0%')} | {row['gate'].partition(':')[0]} |\n"
        )
    refused = {f"{r['model']} {r['graph']}": r["gate"] for r in record["rows"] if ": " in r["gate"]}
    return text + "".join(f"\n- {name}: {why}" for name, why in refused.items()) + "\n"
