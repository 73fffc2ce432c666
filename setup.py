"""Puts ``conf/`` inside the wheel as ``dlntorch/conf``; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConf(build_py):
    def run(self) -> None:
        if not self.editable_mode:  # a module that has been renamed since the last build would be packed again
            shutil.rmtree(Path(self.build_lib) / "dlntorch", ignore_errors=True)
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "dlntorch" / "conf"
            shutil.copytree(Path(__file__).parent / "conf", target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConf})
