"""`seq2seq distill`, from a checkout: python scripts/distill.py --help."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from seq2seq.app.cli import main

if __name__ == "__main__":
    sys.exit(main(["distill", *sys.argv[1:]]))
