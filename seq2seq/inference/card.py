"""The model card: what a model directory's README.md says, with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2seq.checkpoint import directions
from seq2seq.inference.evaluate import signatures

_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]+)*")
_SHOWN = {"loss": "loss, nats", "bleu": "BLEU", "chrf": "chrF", "accuracy": "accuracy", "macro_f1": "macro F1",
          "micro_f1": "micro F1"}  # fmt: skip
_MOST_LABELS = 50


def model_card(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> str:
    """The card of a model; it follows from what the directory holds, and so can be made again under another name.

    Args:
        config: What config.json holds.
        metrics: What metrics.json holds.
        name: What `from_pretrained` and `--model` take: a directory's name, or `user/name` on the hub.
    """
    translates = config.get("task", "translation") == "translation"
    header, body = (_translator if translates else _classifier)(config, metrics, name)
    options, scores = config.get("options", {}), metrics.get("valid", {})
    told = signatures(config["target"]) if translates else {}
    rows = [f"| {_SHOWN.get(key, key)} | {value:.2f} |" for key, value in scores.items()]
    examples = metrics.get("examples", config.get("examples"))
    trained = f"{examples:,} examples, " if examples is not None else ""
    parts = [
        f"---\n{_metadata(config, scores, told, name, translates)}\n---",
        header,
        f"{body} Trained by seq2seq {config.get('version', '')} on `{_data(options)}`: {trained}"
        f"{metrics.get('step', 0):,} steps, seed {options.get('seed', 1)}.",
        "| validation | |\n| --- | --- |\n" + "\n".join(rows) if rows else "No text was held out to validate it on.",
    ]
    if metrics.get("refit"):
        parts.append("The scores are those of a model that had not learned from these texts; this one has.")
    if translates:
        known = "\n".join(f"- {_SHOWN[metric]}: `{signature}`" for metric, signature in told.items())
        one = f" from {config['source']} to {config['target']} alone" if len(directions(config)) > 1 else ""
        parts.append(f"Validated{one}; BLEU and chrF are those of greedy search; sacreBLEU's signatures:\n\n{known}")
    command = shlex.join(config.get("command", []))
    parts += ["## Training", f"```console\n$ {command}\n```"] if command else []
    parts += ["## Use", _use(translates, name)]
    return "\n\n".join(parts) + "\n"


def _translator(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> tuple[str, str]:
    attention = config["model"].get("attention", "bahdanau")
    kind = "one fixed summary of the source" if attention == "none" else f"{attention} attention"
    arrow = "↔" if len(directions(config)) > 1 else "→"
    return f"# {name}: {config['source']} {arrow} {config['target']}", f"A GRU encoder-decoder with {kind}."


def _classifier(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> tuple[str, str]:
    labels = config["labels"]
    shown = ", ".join(labels[:_MOST_LABELS]) + (", ..." if len(labels) > _MOST_LABELS else "")
    several = ", any number of them a text" if config.get("several") else ""
    encoder = config.get("options", {}).get("encoder") or ""
    origin = f", started from the translator `{Path(encoder).name}`" if encoder else ""
    body = (
        f"{len(labels)} labels{several}: {shown}.\n\nA GRU encoder ({config['model'].get('pooling')} pooling){origin}."
    )
    return f"# {name}: text classifier", body


def _data(options: Mapping[str, Any]) -> str:
    """The data set's id on the hub, or the last part of a long path, of which the rest is nobody's business."""
    data = str(options.get("data", ""))
    return Path(data).name if data.startswith((".", "~", "/")) or data.count("/") > 1 else data


def _use(translates: bool, name: str) -> str:
    kind, call, command = (
        ("Translator", 'translate("A sentence.")', "translate")
        if translates
        else ("Classifier", 'predict("A text.")', "classify")
    )
    return (
        f'```python\nfrom seq2seq import {kind}\n\n{kind}.from_pretrained("{name}").{call}\n```\n\n'
        f'```console\n$ seq2seq {command} --model {shlex.quote(name)} "A text."\n```'
    )


def _metadata(
    config: Mapping[str, Any], scores: Mapping[str, Any], told: Mapping[str, str], name: str, translates: bool
) -> str:
    """YAML that the hub reads: languages, task, scores."""
    from huggingface_hub import EvalResult, ModelCardData

    task = "translation" if translates else "text-classification"
    languages = [str(config.get(side, "")) for side in ("source", "target")] if translates else []
    data = _data(config.get("options", {})) or "unknown"
    results = [
        EvalResult(
            task_type=task,
            dataset_type=data,
            dataset_name=data,
            dataset_split="validation",
            metric_type=metric,
            metric_value=round(float(value), 2),
            metric_config=told.get(metric),
        )
        for metric, value in scores.items()
        if metric != "loss"
    ]
    card = ModelCardData(
        language=[language for language in languages if _LANGUAGE.fullmatch(language)] or None,
        library_name="seq2seq",
        pipeline_tag=task,
        tags=["seq2seq", "gru", "recurrent"],
        metrics=[metric for metric in scores if metric != "loss"] or None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    return card.to_yaml().strip()
