"""`seq2seq diversify`, from a checkout: python scripts/diversify.py --help."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from seq2seq.app.cli import main

if __name__ == "__main__":
    sys.exit(main(["diversify", *sys.argv[1:]]))
