"""A run on a file of the user's: the columns are theirs to choose, and each run says which it read."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.run.result import load_run

TABLE = ",g1,g2,g3,y\n0,1.5,-1,2,3\n1,0.5,1,1,2\n"
QUICK = ("p=2", "alpha=0.1", "max_steps=10", "trainer.progress=false", "callbacks.figures=false", "logger=none")


@pytest.mark.parametrize(
    ("keys", "said", "columns", "y"),
    [
        (
            (),
            "A is 3 columns, 'g1' to 'g3'; y is column 5 'y', as it is called; left out is column 1, row names",
            [1, 2, 3],
            4,
        ),
        (("problem.y=g1",), "y is column 2 'g1', as chosen", [2, 3, 4], 1),
        (("problem.columns=[g3,g1,3]",), "A is 3 columns, 'g3' to 'g2'", [3, 1, 2], 4),
    ],
)
def test_each_run_says_which_columns_it_read(command, tmp_path, keys, said, columns, y):
    file = tmp_path / "data.csv"
    file.write_text(TABLE)
    done = command(f"problem.path={file}", *keys, *QUICK)
    assert done.status == 0, done.err
    assert done.out.count("read data.csv: 2 rows under a header; ") == 1
    assert said in done.out
    table = np.array([line.split(",") for line in TABLE.splitlines()[1:]], dtype=float)
    problem = load_run(done.folder).problem
    np.testing.assert_array_equal(problem.A.numpy(), table[:, columns])
    np.testing.assert_array_equal(problem.y.numpy(), table[:, y])
