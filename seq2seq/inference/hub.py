"""Model directories on the Hugging Face hub: what `from_pretrained("user/name")` reads, put there."""

from __future__ import annotations

from pathlib import Path

from seq2seq.checkpoint import read_config, read_metrics
from seq2seq.errors import ConfigError, ModelDirectoryError
from seq2seq.inference.card import model_card

FILES = ["config.json", "model.safetensors", "tokenizer.model", "source.model", "target.model", "metrics.json"]
"""What goes to the hub beside the card; states and logs of training stay."""


def push_to_hub(directory: Path | None, name: str, *, private: bool = True, token: str | None = None) -> str:
    """Puts a model directory onto the hub, in one commit.

    The card names the model as the hub does, unless somebody has edited README.md: then it goes as it is.

    Args:
        directory: None, where a model in memory has none.
        name: `user/name`; made if it is not there.
        private: Whether a repository that is made is for its owner alone; one that is there stays what it is.
        token: Of the account; without it, that of `hf auth login` or HF_TOKEN.

    Returns:
        The commit's address.

    Raises:
        ConfigError: No directory, or the hub refuses or cannot be reached.
        ModelDirectoryError: No model directory.
    """
    if directory is None:
        raise ConfigError("push_to_hub takes a model that from_pretrained has read from one directory")
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    content: dict[str, str | bytes] = {name: str(directory / name) for name in FILES if (directory / name).is_file()}
    content["README.md"] = _card(directory, name).encode()
    operations = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=source) for path, source in content.items()]
    try:
        api = HfApi(token=token)
        repository = api.create_repo(name, private=private, exist_ok=True).repo_id
        commit = api.create_commit(repository, operations, commit_message="Model of seq2seq")
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"cannot put the model onto the hub as {name} ({reason[:300]}); log in with `hf auth login`, or give token"
        ) from None
    return str(commit.commit_url)


def _card(directory: Path, name: str) -> str:
    """The model card, under the hub's name where it is still the one that training wrote."""
    config = read_config(directory)
    try:
        metrics = read_metrics(directory)
    except ModelDirectoryError:
        metrics = {}
    written = directory / "README.md"
    there = written.read_text(encoding="utf-8") if written.is_file() else None
    trained = Path(config.get("options", {}).get("output") or directory).name
    if there is None or there == model_card(config, metrics, trained):
        return model_card(config, metrics, name)
    return there
