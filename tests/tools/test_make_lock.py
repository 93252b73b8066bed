"""The text of a lock file: pip reads it, and installs on each Python what was resolved for it."""

from __future__ import annotations

import re

from packaging.markers import Marker
from twisted.trial.unittest import SynchronousTestCase

from tools.make_lock import PYTHONS, text, wanted


class TestText(SynchronousTestCase):
    def test_a_package_that_every_python_needs_has_no_marker(self) -> None:
        key = ("attrs", "1.0")
        (line, hashed) = text({key: {"b" * 64, "a" * 64}}, {key: set(PYTHONS)}).splitlines()[1:3]
        self.assertEqual(line, "attrs==1.0 \\")
        self.assertEqual(hashed, f"    --hash=sha256:{'a' * 64} \\")

    def test_a_package_of_some_pythons_is_not_installed_on_others(self) -> None:
        old, new = ("one", "1.0"), ("one", "2.0")
        said = text({old: {"a"}, new: {"b"}}, {old: {"3.11", "3.12"}, new: {"3.13"}})
        markers = dict(re.findall(r"(?m)^one==(\S+) ; (.*) \\$", said))
        for python in PYTHONS:
            found = [name for name, one in markers.items() if Marker(one).evaluate({"python_version": python})]
            self.assertEqual(found, ["2.0" if python == "3.13" else "1.0"])


class TestWanted(SynchronousTestCase):
    def test_each_store_can_be_used(self) -> None:
        self.assertIn("psycopg", " ".join(wanted()["requirements.lock"]))
