"""kschat as others get it: a wheel made of the sdist, an install from a directory, an editable install.

Each goes into a virtual environment of its own that sees the packages of the running interpreter, so that no network is
needed, and is used from a directory that has nothing to do with the checkout.
"""

import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import threading
import zipfile
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.test_tap import environment, first_match

ROOT = Path(__file__).parent.parent
PATIENCE = 180
PARTS = ("kschat", "templates", "static", "admin", "twisted", "docs", "deploy", "tools")
FILES = ("setup.py", "pyproject.toml", "MANIFEST.in", "Makefile", "kschat.tac", "README.md", "LICENSE")


def checked(*command: str, cwd: Path) -> str:
    """The output of a command; AssertionError with all of it if it fails."""
    # Without the checkout in PYTHONPATH: what is found must have been installed.
    environ = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if ended.returncode:
        raise AssertionError(f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
    return ended.stdout


def names_below(directory: Path) -> set[str]:
    """The files in a directory, by their path from there."""
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


class PackagingTestCase(SynchronousTestCase):
    """A copy of the checkout to build in, and virtual environments to install into."""

    def setUp(self):
        self.place = Path(self.mktemp()).absolute()
        self.source = self.place / "source"
        self.elsewhere = self.place / "elsewhere"
        self.elsewhere.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, self.place)
        litter = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.egg-info")
        for name in PARTS:
            shutil.copytree(ROOT / name, self.source / name, ignore=litter)
        for name in FILES:
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, self.source / name)

    def environment(self) -> Path:
        """A virtual environment without kschat: the directory of its programs."""
        venv = self.place / "venv"
        checked(sys.executable, "-m", "venv", "--without-pip", str(venv), cwd=self.place)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # Only the directory itself: a .pth file in it (of an editable kschat, say) is not followed from here.
        (venv / "lib" / version / "site-packages" / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.assertNotIn("kschat", self.twistd_help(venv / "bin"))
        return venv / "bin"

    def install(self, programs: Path, *what: str) -> None:
        """``pip install`` into the environment, with nothing fetched."""
        offline = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet"]
        python = str(programs / "python")
        checked(sys.executable, "-m", "pip", "--python", python, "install", *offline, *what, cwd=self.elsewhere)

    def twistd_help(self, programs: Path) -> str:
        """What ``twistd --help`` prints there."""
        run = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        return checked(str(programs / "python"), "-c", run, "--help", cwd=self.elsewhere)

    def assert_works(self, programs: Path, home: Path) -> None:
        """twistd lists it, it lies in ``home``, its assets are whole, and the console command is there."""
        self.assertIn("A chat server for Socket.IO clients.", self.twistd_help(programs))
        python = str(programs / "python")
        found = checked(python, "-c", "import kschat; print(kschat.__file__)", cwd=self.elsewhere).strip()
        self.assertTrue(Path(found).is_relative_to(home), f"{found} is not in {home}")
        for name in ("templates", "static", "admin"):
            code = f"from kschat.assets import shipped; print(shipped({name!r}).path)"
            directory = Path(checked(python, "-c", code, cwd=self.elsewhere).strip())
            self.assertTrue(directory.is_relative_to(home), f"{directory} is not in {home}")
            self.assertEqual(names_below(directory), names_below(ROOT / name))
            self.assertTrue(names_below(directory), f"{name} is empty")
        self.assertRegex(checked(str(programs / "kschat"), "--version", cwd=self.elsewhere), r"^kschat \d")
        self.assert_serves_a_page(python)

    def assert_serves_a_page(self, python: str) -> None:
        """The daemon starts, which reads the template and makes its database, and ends."""
        run = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        arguments = [
            "-n",
            "--pidfile=",
            "kschat",
            "--demo",
            "--listen",
            "tcp:0:interface=127.0.0.1",
            "--store",
            "sqlite:it.db",
        ]
        environ = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
        with subprocess.Popen(
            [python, "-c", run, *arguments], cwd=self.elsewhere, env=environ, stdout=subprocess.PIPE, text=True
        ) as daemon:
            # Reading has no timeout of its own.
            watchdog = threading.Timer(PATIENCE, daemon.kill)
            watchdog.start()
            try:
                assert daemon.stdout is not None
                first_match(daemon.stdout, "serving on http://127.0.0.1:")
                daemon.terminate()
                daemon.communicate(timeout=PATIENCE)
                self.assertEqual(daemon.returncode, 0)
                with closing(sqlite3.connect(self.elsewhere / "it.db")) as connection:
                    self.assertEqual(connection.execute("SELECT openings FROM progress").fetchall(), [(1,)])
            finally:
                watchdog.cancel()
                daemon.kill()


class TestInstalls(PackagingTestCase):
    """Three ways to install it."""

    def test_a_wheel_of_the_sdist_works(self):
        build = ["-m", "build", "--no-isolation", "--outdir", str(self.place / "dist")]
        checked(sys.executable, *build, "--sdist", str(self.source), cwd=self.elsewhere)
        (sdist,) = (self.place / "dist").glob("*.tar.gz")
        shutil.unpack_archive(sdist, self.place)
        unpacked = self.place / sdist.name.removesuffix(".tar.gz")
        checked(sys.executable, *build, "--wheel", str(unpacked), cwd=self.elsewhere)
        (wheel,) = (self.place / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            tops = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" not in name}
            plugins = [name for name in archive.namelist() if name.startswith("twisted/")]
            self.assertIn("kschat/py.typed", archive.namelist())
            (about,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            metadata = archive.read(about).decode()
            self.assertTrue(any(name.endswith("/licenses/LICENSE") for name in archive.namelist()))
        for field in ("License-Expression: MIT", "Author: kschat contributors", "Typing :: Typed", "# kschat"):
            self.assertIn(field, metadata)
        self.assertNotIn("-URL:", metadata)
        self.assertEqual((tops, plugins), ({"kschat", "twisted"}, ["twisted/plugins/kschat_plugin.py"]))
        programs = self.environment()
        self.install(programs, str(wheel))
        self.assert_works(programs, programs.parent)

    def test_an_install_from_the_directory_works(self):
        programs = self.environment()
        self.install(programs, str(self.source))
        # It must not lean on the directory that it came from.
        shutil.rmtree(self.source)
        self.assert_works(programs, programs.parent)

    def test_the_commands_of_the_image_install_it_where_nothing_builds(self):
        """Those of the Containerfile that need no network, at other paths. The image has neither pip nor setuptools."""
        text = re.sub(r"(?m)^ *#.*\n", "", (ROOT / "deploy" / "container" / "Containerfile").read_text("utf-8"))
        (line,) = re.findall(r"(?m)^RUN (.* /src .*)$", text.replace("\\\n", " "))
        build, image = self.place / "build" / "bin", self.place / "image"
        build.mkdir(parents=True)
        (build / "pip").write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@"\n')
        (build / "pip").chmod(0o755)
        checked(sys.executable, "-m", "venv", "--without-pip", str(image), cwd=self.place)
        commands = [one.strip() for one in line.split("&&") if " check " not in one]
        for path, there in (
            ("/opt/build", build.parent),
            ("/opt/kschat", image),
            ("/src", self.source),
            ("/wheels", self.place / "wheels"),
        ):
            commands = [re.sub(rf"(?<=\s){path}(?=[/\s]|$)|^{path}", str(there), one) for one in commands]
        checked("sh", "-e", "-c", "\n".join(commands), cwd=self.elsewhere)
        installed = names_below(image)
        for name in ("bin/kschat", "kschat/__init__.py", "kschat/admin/index.html", "twisted/plugins/kschat_plugin.py"):
            self.assertTrue(any(one.endswith(name) for one in installed), name)
        self.assertFalse(any("/setuptools/" in one for one in installed))

    def test_an_editable_install_works(self):
        programs = self.environment()
        self.install(programs, "-e", str(self.source))
        self.assert_works(programs, self.source)
