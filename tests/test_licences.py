"""Each file says its licence, and what is in a release: by the programs of ``make dist`` and ``make audit``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "deploy" / "container" / "requirements.lock"

#: Seconds that a program may take.
PATIENCE = 180


class LicenceTests(SynchronousTestCase):
    def program(self, *arguments: str) -> str:
        """What a program of this environment prints."""
        path = Path(sys.executable).with_name(arguments[0])
        ended = subprocess.run(
            [str(path), *arguments[1:]], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        self.assertEqual(ended.returncode, 0, ended.stdout[-3000:] + ended.stderr[-3000:])
        return ended.stdout

    def test_each_file_has_one(self) -> None:
        found = json.loads(self.program("reuse", "lint", "--json"))
        self.assertTrue(found["summary"]["compliant"])
        self.assertEqual(found["summary"]["used_licenses"], ["MIT"])
        self.assertEqual((ROOT / "LICENSE").read_text(), (ROOT / "LICENSES" / "MIT.txt").read_text())

    def test_an_audit_that_could_not_look_a_package_up_fails(self) -> None:
        """pip-audit passes where no package is known to the service that it asks, unless it is strict."""
        place = Path(self.mktemp()).absolute()
        (place / "bin").mkdir(parents=True)
        for name, text in (
            ("pip", ""),
            ("reuse", ""),
            ("pip-audit", 'case " $* " in *" --strict "*) echo "it could not be looked up" >&2; exit 1 ;; esac'),
        ):
            (place / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (place / "bin" / name).chmod(0o755)
        for name in (".created", ".installed", ".dev"):
            (place / name).touch()
        ended = subprocess.run(
            ["make", "audit", f"VENV={place}"], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("it could not be looked up\naudit: a locked package has a known vulnerability, or", ended.stderr)

    def test_the_bill_of_materials_names_each_locked_package(self) -> None:
        path = Path(self.mktemp()).absolute()
        options = ["--pyproject", "pyproject.toml", "--output-reproducible", "--output-format", "JSON"]
        self.program("cyclonedx-py", "requirements", *options, "--output-file", str(path), str(LOCK))
        found = json.loads(path.read_text("utf-8"))
        packages = {(one["name"], one["version"]) for one in found["components"]}
        self.assertEqual(packages, set(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", LOCK.read_text("utf-8"))))
        self.assertEqual(found["metadata"]["component"]["name"], "kschat")
