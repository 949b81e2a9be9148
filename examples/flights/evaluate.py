"""Score the model on flights it has not seen: model/, data/test.parquet -> metrics.json, roc.csv."""

import json
from pathlib import Path

import pandas as pd
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score, roc_curve

import mlops_cli as mlo


def main() -> None:
    model = mlo.load_model("model")
    rows = pd.read_parquet("data/test.parquet")
    late = rows["late"]
    chance = model.predict(rows).scores[:, 1]
    metrics = {
        "auc": roc_auc_score(late, chance),
        "accuracy": accuracy_score(late, chance > 0.5),
        "log_loss": log_loss(late, chance),
    }
    Path("metrics.json").write_text(
        json.dumps({name: round(float(value), 6) for name, value in metrics.items()}, indent=2) + "\n"
    )
    fpr, tpr, _ = roc_curve(late, chance)
    pd.DataFrame({"fpr": fpr, "tpr": tpr}).to_csv("roc.csv", index=False)
    print(f"auc {metrics['auc']:.3f} on {len(rows):,} flights")


if __name__ == "__main__":
    main()
