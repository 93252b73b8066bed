"""Whether an endpoint can be listened at is found out without a reactor, and nothing stays behind."""

import os
import shutil
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kschat.front.bindable import cannot_listen
from kschat.unix_paths import MAX_PATH


class TestCannotListen(SynchronousTestCase):
    def test_a_free_port_is_let_go_of(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        for _ in range(2):
            self.assertEqual(cannot_listen(f"tcp:{port}:interface=127.0.0.1"), "")
        with socket.create_server(("127.0.0.1", port)):
            pass

    def test_a_busy_port_is_told_in_the_system_s_words(self):
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            for kind in ("tcp", "haproxy:tcp"):
                self.assertEqual(cannot_listen(f"{kind}:{port}:interface=127.0.0.1"), "Address already in use")

    def test_an_address_of_another_machine(self):
        self.assertEqual(cannot_listen("tcp:0:interface=192.0.2.1"), "Cannot assign requested address")

    def test_a_unix_socket(self):
        # Not below mktemp(), whose names can be longer than the 107 bytes that a socket's path may have.
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        path = Path(os.path.relpath(directory / "s"))
        self.assertEqual(cannot_listen(f"unix:{directory / 's'}"), "")
        self.assertEqual(os.listdir(directory), [])
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            self.assertEqual(cannot_listen(f"unix:{directory / 's'}"), "", "it is stale, and taken over")
            server.listen()
            self.assertEqual(cannot_listen(f"unix:{path}", relative=True), "Address already in use")
            self.assertIsNone(cannot_listen(f"unix:{path}"), "twistd may run elsewhere")
        (directory / "file").write_text("x")
        self.assertEqual(cannot_listen(f"unix:{directory / 'file'}"), "it is a file, and no socket")
        self.assertEqual(cannot_listen("unix:/nowhere/s"), "there is no directory /nowhere")

    def test_a_path_that_is_too_long_for_a_socket(self):
        path = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, path)
        longest = f"{path}/{'s' * (MAX_PATH - len(str(path)) - 1)}"
        self.assertEqual(cannot_listen(f"unix:{longest}"), "")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(longest)
            self.assertRaises(OSError, server.bind, f"{longest}s")
        self.assertEqual(
            cannot_listen(f"unix:{longest}s"), "its path is longer than 107 bytes, the most that a socket can have"
        )

    def test_what_is_no_endpoint(self):
        self.assertEqual(cannot_listen("carrier:pigeon"), "Unknown endpoint type: 'carrier'")
