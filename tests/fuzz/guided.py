"""The file readers under a fuzzer that is guided by the lines it reaches (atheris; not in CI, install it first).

pip install atheris
python -m tests.fuzz.guided mat --runs 20000      # one format a process; ends with the input where something is found
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dlntorch.problem", "dlntorch.problem", "dlntorch.numerics.validation"]):
    from dlntorch.problem import load_problem

from tests.fuzz.targets import REFUSED, _samples, _y_of_pair, attempt


def main() -> None:
    """Fuzz the format named first, ``--runs`` times."""
    name, runs = sys.argv[1], int(sys.argv[sys.argv.index("--runs") + 1]) if "--runs" in sys.argv else 20_000
    samples = {key: data for key, data in _samples().items() if key.split(".")[-1] == name}
    if not samples:
        raise SystemExit(f"the format must be one of npz, npy, mat, pt, csv, got {name!r}")
    with tempfile.TemporaryDirectory() as place:
        corpus = Path(place) / "corpus"
        corpus.mkdir()
        for key, data in samples.items():
            (corpus / key).write_bytes(data)
        file = Path(place) / ("data.A.npy" if name == "npy" else f"data.{name}")
        (Path(place) / "data.y.npy").write_bytes(_y_of_pair())

        def one(data: bytes) -> None:
            file.write_bytes(data)
            found = attempt(lambda: load_problem(file))
            if found not in (None, REFUSED):
                raise RuntimeError(found)

        atheris.Setup([sys.argv[0], f"-runs={runs}", "-timeout=10", "-max_len=4096", str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
