#!/usr/bin/env python3
"""The smoke run of the night tier: `bench/run.py --quick`."""
import os
import sys
from pathlib import Path

os.execv(sys.executable, [sys.executable, str(Path(__file__).parent / "run.py"), "--quick", *sys.argv[1:]])
