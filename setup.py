"""Copies the pages' templates and files into the package when it is built; all else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ASSETS = ("templates", "static", "admin")


class BuildWithAssets(build_py):
    """Adds the directories beside the package. To map them into it by package-dir would break editable installs."""

    def run(self) -> None:
        """Builds, then copies, unless the install is editable: that one finds them beside the package."""
        super().run()
        if not self.editable_mode:
            for name in ASSETS:
                target = Path(self.build_lib, "kschat", name)
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(name, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """The files that ``run`` makes."""
        outputs: list[str] = super().get_outputs(include_bytecode)
        if not self.editable_mode:
            files = [path for name in ASSETS for path in Path(name).rglob("*") if path.is_file()]
            outputs += [str(Path(self.build_lib, "kschat", path)) for path in files]
        return outputs


setup(cmdclass={"build_py": BuildWithAssets})
