"""Much text translated by a Ray cluster, from a checkout: python scripts/translate_ray.py --help."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from seq2seq.app.translate_ray import main

if __name__ == "__main__":
    sys.exit(main())
