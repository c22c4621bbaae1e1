"""Reads a translator's model directory, downloading it first where it is on the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from seq2seq.checkpoint import load_model
from seq2seq.config import ModelConfig, from_flat
from seq2seq.errors import ModelDirectoryError
from seq2seq.nn.translator import TranslationModel

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def load_translator(
    path: str | Path, device: torch.device
) -> tuple[TranslationModel, dict[str, bytes], dict[str, Any]]:
    """Model, tokenizers and configuration of a model directory.

    Args:
        path: A directory, or `user/name` on the hub where no such directory is here.
        device: Where to put the model.

    Raises:
        ModelDirectoryError: It cannot be read, or holds no translation model.
    """
    directory = local_directory(path)
    saved = load_model(directory)
    task = saved.config.get("task", "translation")
    if task != "translation":
        raise ModelDirectoryError(f"{path} holds a model for {task}, not a translator; give a translator's directory")
    try:
        sizes = saved.config["source_vocab"], saved.config["target_vocab"], saved.config["joint"]
        options = from_flat(ModelConfig, saved.config["model"], where=f"{directory}/config.json")
        model = TranslationModel(options, *sizes)
        model.load_state_dict(saved.tensors)
    except (KeyError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ModelDirectoryError(
            f"{directory}: weights and config.json do not belong together ({reason[:300]}); copy the directory again"
        ) from None
    return model.to(device), saved.tokenizers, saved.config


def local_directory(path: str | Path) -> Path:
    """The local directory of a model; one on the hub is downloaded first (without any file that could hold code)."""
    local = Path(path).expanduser()
    # runs/model looks like a hub id too: where runs/ is here, a slip of the pen is the likelier reading
    if local.exists() or not isinstance(path, str) or not _HUB_ID.fullmatch(path) or local.parent.exists():
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(path, allow_patterns=["*.json", "*.safetensors", "*.model", "README.md"]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelDirectoryError(
            f"{path} is neither a directory here nor a model that could be downloaded from the hub ({reason[:200]}); "
            "give the --output of a training run"
        ) from None
