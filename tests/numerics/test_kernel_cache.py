"""Compiled kernels on disk: never stale, never shared by mistake, never in the way."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from llvmlite.binding import Linkage

import dlntorch
from dlntorch.numerics.compiling import SUMS, kernel
from dlntorch.numerics.fingerprint import fingerprint
from dlntorch.numerics.kernel_cache import UNUSED, KernelCache

PACKAGE = Path(dlntorch.__file__).parent

SCALES = "FACTOR = 2.0\n"
INNER = """
import numpy as np
from numba.extending import register_jitable
from dlntorch.numerics.compiling import kernel
from scaled.scales import FACTOR

@kernel
def doubled(x):
    return FACTOR * x

@register_jitable
def shifted(x):
    return x + 1.0
"""
OUTER = """
from dlntorch.numerics.compiling import kernel
from scaled import inner
from scaled.inner import doubled

@kernel
def outer(x):
    return inner.shifted(doubled(x))
"""
#: Too long to be inlined.
TALL = (
    "\n@kernel\ndef tall(x):\n"
    + "".join(f"    x += np.sin({k} * x) / (x + {k}.5)\n" for k in range(200))
    + "    return x\n"
)


@pytest.fixture
def scaled(tmp_path, monkeypatch):
    """A package whose kernel is made of three files."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "")
    folder = tmp_path / "scaled"
    folder.mkdir()
    for name, text in {"__init__": "", "scales": SCALES, "inner": INNER, "outer": OUTER}.items():
        (folder / f"{name}.py").write_text(text)
    yield folder
    _forget()


def _forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "scaled"]:
        del sys.modules[name]


def _outer():
    """outer(3), and how many kernels were loaded, as in a process that imports the package for the first time."""
    _forget()
    outer = importlib.import_module("scaled.outer").outer
    return outer(3.0), sum(outer.stats.cache_hits.values())


def _started(program, folder, *others):
    """A process in ``folder``, which imports from there first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment = kept | {"PYTHONPATH": os.pathsep.join(map(str, others)), "PYTHONDONTWRITEBYTECODE": "1"}
    pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=folder, **pipes)


def _rewrite(file, old, new):
    """Other text of the same length, and as old as before: nothing but the text tells them apart."""
    times, text = file.stat(), file.read_text()
    assert text.count(old) == 1
    assert len(old) == len(new)
    file.write_text(text.replace(old, new))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_kernel_is_loaded_by_the_next_process_and_compiled_anew_when_anything_it_calls_is_edited(scaled):
    assert _outer() == (7.0, 0)
    assert _outer() == (7.0, 1)
    _rewrite(scaled / "inner.py", "x + 1.0", "x + 5.0")
    assert _outer() == (11.0, 0)
    _rewrite(scaled / "scales.py", "2.0", "4.0")
    assert _outer() == (17.0, 0)
    _rewrite(scaled / "inner.py", "FACTOR * x", "FACTOR + x")
    assert _outer() == (12.0, 0)
    _rewrite(scaled / "inner.py", "FACTOR + x", "FACTOR * x")
    assert _outer() == (17.0, 1)  # what was compiled for these sources is still there


def test_an_edit_of_a_called_function_in_another_file_of_the_package_is_seen_on_the_next_run(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "dlntorch", ignore=shutil.ignore_patterns("__pycache__"))
    program = textwrap.dedent("""
        import numpy as np
        from dlntorch.bounds.certificate_box import _power
        out = np.empty(1)
        _power(np.ones(1), 0.3, out)
        print(out[0])
    """)
    printed, said = _started(program, tmp_path).communicate()
    assert (printed, said.startswith("compiling") or said == "") == ("1.0\n", True)
    _rewrite(tmp_path / "dlntorch" / "numerics" / "powers.py", "return 1.0 + fused", "return 3.0 + fused")
    printed, said = _started(program, tmp_path).communicate()
    assert (printed, said.startswith("compiling") or said == "") == ("3.0\n", True)


def test_a_kernel_whose_callee_has_other_flags_or_that_is_compiled_by_other_switches_is_another(scaled, monkeypatch):
    assert _outer() == (7.0, 0)
    (scaled / "inner.py").write_text(INNER.replace("@kernel", "@kernel(error_model='python')"))
    assert _outer() == (7.0, 0)
    monkeypatch.setattr("numba.core.config.SLP_VECTORIZE", 1)
    assert _outer() == (7.0, 0)


def test_a_kernel_calls_its_own_copies_of_the_others(scaled):
    """Visible copies would be linked to whichever the process loaded first."""
    (scaled / "inner.py").write_text(INNER + TALL)
    (scaled / "outer.py").write_text(OUTER.replace("doubled(x))", "doubled(x)) + inner.tall(x) + inner.tall(2 * x)"))
    _forget()
    outer = importlib.import_module("scaled.outer").outer
    outer(3.0)
    (compiled,) = outer.overloads.values()
    functions = [function for function in compiled.library.get_defined_functions() if "scaled" in function.name]
    inner = [function for function in functions if "inner" in function.name]
    assert any("tall" in function.name for function in inner)
    assert {function.linkage for function in inner} == {Linkage.internal}


@pytest.mark.slow
def test_results_do_not_depend_on_which_kernels_come_from_disk(tmp_path):
    """All compiled, none, and each room's alone: the same bits of a prediction through some forty kernels."""
    program = textwrap.dedent("""
        from tests.run.test_background_plan import configuration, make_problem, plan_run
        config = configuration("problem=plane", "p=2.5", "alpha=1e-2")
        print(plan_run(config, make_problem(**config["problem"])).prediction)
    """)
    folder, printed = tmp_path / "kernels", set()
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(PACKAGE.parent)}
    for removed in ("nothing", "", "*loop_kernel*", "*stage_kernel*", "*cell_kernels*", "*symmetric*"):
        for file in folder.rglob(f"{removed}.nbc") if removed else ():
            file.unlink()
        printed.add(
            subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True).stdout
        )
    assert len(printed) == 1
    assert b"steps=" in printed.pop()


def test_processes_that_compile_the_same_kernel_at_once_leave_one_sound_file(scaled):
    program = "from scaled.outer import outer; print(outer(3.0))"
    running = [_started(program, scaled.parent, PACKAGE.parent) for _ in range(3)]
    assert [process.communicate() for process in running] == [("7.0\n", "")] * 3
    files = sorted((scaled / "__pycache__").iterdir())
    assert [file.name.split("-")[0] for file in files] == ["inner.doubled", "outer.outer"]
    assert _outer() == (7.0, 1)


@pytest.mark.parametrize("size", [0, 20, 2000])
def test_a_file_that_was_cut_short_is_compiled_anew(scaled, size):
    assert _outer() == (7.0, 0)
    (file,) = (scaled / "__pycache__").glob("outer.outer-*.nbc")
    file.write_bytes(file.read_bytes()[:size])
    assert _outer() == (7.0, 0)
    assert _outer() == (7.0, 1)


@pytest.fixture
def closed(scaled, tmp_path, monkeypatch):
    """No folder beside the sources, and none of the user's; the place of temporary folders."""
    (scaled / "__pycache__").write_text("a file in place of the folder")
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_without_a_folder_beside_the_sources_or_a_home_kernels_are_kept_in_a_private_temporary_folder(closed):
    assert _outer() == (7.0, 0)
    assert _outer() == (7.0, 1)
    (folder,) = closed.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="a folder's owner and mode are POSIX's")
def test_a_temporary_folder_that_others_can_write_to_is_not_read(closed):
    assert _outer() == (7.0, 0)
    (folder,) = closed.iterdir()
    folder.chmod(0o777)
    assert _outer() == (7.0, 0)


def test_where_nothing_can_be_written_every_process_compiles_for_itself(closed, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null")
    assert _outer() == (7.0, 0)
    assert _outer() == (7.0, 0)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A kernel of this process that is kept in ``tmp_path``, and its files there."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))

    @kernel(fastmath=SUMS)
    def total(x):
        result = 0.0
        for entry in x:
            result += entry
        return result

    return total, lambda: sorted(tmp_path.rglob("*total*"))


def test_a_disk_that_is_full_leaves_the_kernel_compiled_and_nothing_half_written(cached, monkeypatch):
    total, files = cached

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert total(np.ones(5)) == 5.0
    assert files() == []


def test_what_no_process_has_used_for_long_is_removed_when_the_kernel_is_compiled_again(cached):
    total, files = cached
    total(np.ones(5))
    (first,) = files()
    old = first.stat().st_mtime - UNUSED - 10
    os.utime(first, (old, old))
    total(np.ones(5, dtype=np.float32))
    (second,) = files()
    assert second != first


def test_flushing_a_kernel_removes_its_files(cached):
    total, files = cached
    total(np.ones(5))
    total._cache.flush()
    assert files() == []


def test_a_kernel_is_known_by_its_closure_its_defaults_and_what_it_calls_in_circles():
    def made(step, least=1):
        def down(n, start=least):
            return up(n - step) if n > start else n

        def up(n):
            return down(n + step - 1)

        return kernel(down)

    assert fingerprint(made(2)) == fingerprint(made(2))
    assert len({fingerprint(made(2)), fingerprint(made(3)), fingerprint(made(2, least=0))}) == 3


def test_what_cannot_be_told_from_another_has_no_fingerprint():
    def reading(x, generator=(n for n in range(3))):
        return x

    with pytest.raises(TypeError, match="cannot be told from another"):
        fingerprint(kernel(reading))


def test_a_kernel_without_a_fingerprint_is_compiled_and_not_kept(cached, monkeypatch):
    total, files = cached
    monkeypatch.setattr("dlntorch.numerics.kernel_cache.fingerprint", lambda _: (_ for _ in ()).throw(TypeError))
    assert total(np.ones(5)) == 5.0
    assert files() == []


def _modules(pattern):
    return [file for file in sorted(PACKAGE.rglob("*.py")) if re.search(pattern, file.read_text(), re.MULTILINE)]


def test_only_the_package_s_own_decorator_compiles():
    compiling = _modules(r"^\s*(import numba\b|from numba\b.*\b(jit|njit|vectorize|guvectorize|cfunc)\b)")
    assert {file.relative_to(PACKAGE).parts[0] for file in compiling} == {"numerics"}


def test_every_kernel_of_the_package_has_this_cache_and_a_fingerprint():
    found = {}
    for file in _modules(r"^@kernel\b"):
        name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        __import__(name)
        for value in vars(sys.modules[name]).values():
            if hasattr(value, "py_func"):
                found[value.py_func] = value
    assert len(found) >= 36
    assert all(isinstance(value._cache, KernelCache) for value in found.values())
    assert len({fingerprint(value) for value in found.values()}) == len(found)


def test_the_folder_of_kernels_is_the_user_s_choice_first(cached, tmp_path):
    total, files = cached
    total(np.ones(5))
    assert total.stats.cache_path.startswith(str(tmp_path))
    assert len(files()) == 1


RECORD = """
from typing import NamedTuple

from dlntorch.numerics.compiling import kernel


class Pair(NamedTuple):
    first: float
    second: float


@kernel
def outer(pair):
    return 2.0 * pair.first + pair.second
"""


def test_a_record_whose_fields_change_places_is_another(scaled):
    """numba's name of a record's type has no names of fields: a kept kernel would read the wrong ones."""

    def run():
        _forget()
        module = importlib.import_module("scaled.record")
        return module.outer(module.Pair(first=1.0, second=10.0)), sum(module.outer.stats.cache_hits.values())

    file = scaled / "record.py"
    file.write_text(RECORD)
    assert run() == (12.0, 0)
    assert run() == (12.0, 1)
    file.write_text(RECORD.replace("    first: float\n    second: float", "    second: float\n    first: float"))
    importlib.invalidate_caches()
    assert run() == (12.0, 0)


def test_a_kernel_that_has_moved_to_another_module_is_compiled_anew(scaled):
    """What is kept finds its callees by their modules' names, of which a moved one has none."""
    from dlntorch.numerics.fingerprint import fingerprint

    assert _outer() == (7.0, 0)
    first = fingerprint(importlib.import_module("scaled.outer").outer)
    package = scaled / "elsewhere"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "outer.py").write_text((scaled / "outer.py").read_text())
    moved = importlib.import_module("scaled.elsewhere.outer").outer
    assert fingerprint(moved) != first
    assert (moved(3.0), sum(moved.stats.cache_hits.values())) == (7.0, 0)
