"""Recurrent sequence-to-sequence models: train a translator, translate with it.

from seq2seq import Translator
Translator.from_pretrained("runs/demo").translate(["A dog runs."], beam_size=5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2seq.inference.classifier import Classifier
    from seq2seq.inference.translator import Translator

__all__ = ["Classifier", "Translator", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `Translator` or `Classifier`, and torch, when first asked for: `import seq2seq` itself stays quick."""
    if name == "Translator":
        from seq2seq.inference.translator import Translator

        return Translator
    if name == "Classifier":
        from seq2seq.inference.classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'seq2seq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
