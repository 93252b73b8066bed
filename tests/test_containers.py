"""What runs kschat in containers: each file is read by the program that it is for, or checked by that program's schema.

haproxy reads its file, kubectl and the schemas of Kubernetes the manifests. These tests build no image
(``tests.installation.container_image`` does) and do not start compose: they read both files, and load the settings in
them as the daemon does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
from packaging.requirements import Requirement
from twisted.trial.unittest import SynchronousTestCase

from kschat.notify import STOP_SECONDS
from kschat.settings import Config, load
from tests.support.needs import allowed_skip, require_program
from tools import make_lock

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "deploy" / "container"
KUBERNETES = ROOT / "deploy" / "kubernetes"
SECRET = "Zk3-vJ9qXw_7LmTd0RbYc5NfHs2GpUeA"

#: What the user sets.
OWN = {"KSCHAT_SECRET": SECRET, "RABBITMQ_PASSWORD": "p", "POD_IP": "10.1.2.3"}

#: The schemas that the manifests have to fit.
KUBERNETES_VERSION = "1.32"

#: A name of an image without a registry: what is before the first slash would have a dot or a colon.
IMAGE = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)?(:[\w.-]+)?")


def expanded(text: str) -> str:
    """With the variables that compose (``${NAME:?…}``) and Kubernetes (``$(NAME)``) replace."""
    return re.sub(r"\$[({](\w+)(?::\?[^})]*)?[})]", lambda found: OWN[found[1]], text)


class ContainerTestCase(SynchronousTestCase):
    """Settings in a file of containers."""

    def assert_ends_in_time(self, config: Config, seconds: float) -> None:
        self.assertGreater(seconds, config.drain_notice + config.drain_time + STOP_SECONDS)

    def assert_acts_as_one(self, config: Config) -> None:
        self.assertEqual((config.store, bool(config.amqp), bool(config.redis)), ("redis", True, True))
        self.assertGreater(config.drain_notice, 2, "haproxy notices after 2 seconds")
        self.assertTrue(config.peer_url and config.trusted_proxies and config.ops_listen)


class TestImage(ContainerTestCase):
    """The Containerfile, and what it copies."""

    def instructions(self) -> list[tuple[str, str]]:
        text = (PLACE / "Containerfile").read_text("utf-8")
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
        return [(name, rest.strip()) for line in joined.splitlines() if line for name, _, rest in [line.partition(" ")]]

    def test_it_ends_as_a_user_without_privileges_and_is_looked_after(self) -> None:
        found = self.instructions()
        last = [name for name, _ in found].index("FROM", 3)
        final = dict(found[last:])
        self.assertEqual(final["USER"], "10001:10001")
        self.assertIn("/opt/kschat/bin", final["ENV"])
        self.assertEqual(msgspec.json.decode(final["ENTRYPOINT"]), ["kschat", "run"])
        command = msgspec.json.decode(final["HEALTHCHECK"].partition("CMD ")[2])
        compile(command[2], "HEALTHCHECK", "exec")
        self.assertEqual(final["STOPSIGNAL"], "SIGTERM")
        self.assertIn("--uid 10001", " ".join(rest for name, rest in found[last:] if name == "RUN"))

    def test_it_is_made_of_what_is_there_and_of_locked_packages(self) -> None:
        found = self.instructions()
        for name, rest in found:
            if name == "COPY" and not rest.startswith("--from"):
                for source in rest.split()[:-1]:
                    self.assertTrue((ROOT / source).exists(), source)
            if name == "ARG":
                self.assertRegex(rest.partition("=")[2], IMAGE)
        installs = [one for name, rest in found if name == "RUN" for one in rest.split("&&") if " install " in one]
        pip = [one for one in installs if "/pip " in one]
        self.assertEqual(len(pip), 3)
        for one in pip:
            self.assertTrue("--require-hashes" in one or "--no-index" in one, one)

    def test_compose_and_kubernetes_run_what_it_is(self) -> None:
        """Its user, its port, and the URL of its health check."""
        final = dict(self.instructions())
        compose = msgspec.yaml.decode((PLACE / "compose.yml").read_bytes())
        daemons = [one for name, one in compose["services"].items() if name.startswith("kschat")]
        pod = msgspec.yaml.decode((KUBERNETES / "kschat.yaml").read_text("utf-8").partition("\n---\n")[0])
        spec = pod["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        self.assertIn(int(final["EXPOSE"]), [one["containerPort"] for one in container["ports"]])
        self.assertEqual(final["EXPOSE"], Config().listen.partition(":")[2])
        user = f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}"
        self.assertEqual(final["USER"], user)
        self.assertEqual({one["image"] for one in daemons}, {container["image"].partition(":")[0]})
        self.assertIn(f"HEALTH_URL=http://127.0.0.1:{final['EXPOSE']}/livez", final["ENV"])

    def test_its_settings_are_kschat_s(self) -> None:
        environ: dict[str, str] = {}
        for name, rest in self.instructions():
            if name == "ENV":
                environ |= dict(part.split("=", 1) for part in rest.split() if part.startswith("KSCHAT_"))
        self.assertEqual(load({}, {**environ, "KSCHAT_SECRET": SECRET}).store, "sqlite:/var/lib/kschat/kschat.db")

    def locked(self, name: str) -> dict[str, str]:
        """The versions in a lock file."""
        text = (PLACE / name).read_text("utf-8")
        self.assertNotIn("://", text)
        entries = re.split(r"(?m)^(?=[a-z])", text.partition("\n")[2])[1:]
        versions = {}
        for entry in entries:
            found = re.fullmatch(r"([a-z0-9-]+)==(\S+)(?: ;[^\\]*)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry)
            assert found is not None, entry
            versions[found[1]] = found[2]
        return versions

    def test_the_locks_have_what_the_project_needs(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        for name, wanted in (
            ("requirements.lock", make_lock.wanted()["requirements.lock"]),
            ("build.lock", project["build-system"]["requires"]),
        ):
            versions = self.locked(name)
            for text in wanted:
                one = Requirement(text)
                self.assertIn(one.name.lower(), versions)
                self.assertTrue(one.specifier.contains(versions[one.name.lower()]), f"{name}: {text}")

    def test_both_builders_leave_out_the_same(self) -> None:
        self.assertEqual((ROOT / ".containerignore").read_text(), (ROOT / ".dockerignore").read_text())


class TestCompose(ContainerTestCase):
    """``compose.yml``."""

    def compose(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.yaml.decode((PLACE / "compose.yml").read_bytes())
        return found

    def test_each_daemon_starts_with_its_settings_and_ends_in_time(self) -> None:
        services = self.compose()["services"]
        names = [name for name in services if name.startswith("kschat")]
        self.assertEqual(len(names), 3)
        for name in names:
            one = services[name]
            environ = {key: expanded(str(value)) for key, value in one["environment"].items()}
            config = load({}, environ)
            self.assert_acts_as_one(config)
            self.assertEqual(config.peer_url, f"http://{name}:3001")
            self.assert_ends_in_time(config, float(one["stop_grace_period"].removesuffix("s")))
            self.assertEqual((one["read_only"], one["cap_drop"]), (True, ["ALL"]))
            self.assertTrue((PLACE / one["build"]["context"] / one["build"]["dockerfile"]).is_file())
            self.assertIn(f":{config.ops_listen.partition(':')[2]}/livez", environ["HEALTH_URL"])

    def test_what_it_names_is_there(self) -> None:
        found = self.compose()
        for name, one in found["services"].items():
            self.assertRegex(one["image"], IMAGE)
            self.assertTrue(set(one.get("depends_on", ())) <= set(found["services"]), name)
            for volume in one.get("volumes", ()):
                source = volume.partition(":")[0]
                there = (PLACE / source).is_file() if source.startswith(".") else source in found["volumes"]
                self.assertTrue(there, volume)
        self.assertIn("noeviction", found["services"]["redis"]["command"])

    def test_haproxy_understands_its_file_and_finds_the_daemons(self) -> None:
        haproxy = require_program("haproxy")
        file = PLACE / "haproxy.cfg"
        ended = subprocess.run([haproxy, "-c", "-f", str(file)], capture_output=True, text=True, check=False)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        services = self.compose()["services"]
        servers = re.findall(r"server \S+ ([\w-]+):(\d+)", file.read_text())
        self.assertEqual(servers, [(name, "3000") for name in services if name.startswith("kschat")])
        self.assertIn("8080:8080", services["haproxy"]["ports"])


class TestKubernetes(ContainerTestCase):
    """The manifests."""

    def documents(self) -> Iterator[dict[str, Any]]:
        text = (KUBERNETES / "kschat.yaml").read_text("utf-8")
        for document in re.split(r"(?m)^---$", text):
            yield msgspec.yaml.decode(document.encode())

    def of(self, kind: str) -> dict[str, Any]:
        (found,) = [one for one in self.documents() if one["kind"] == kind]
        return found

    def test_they_fit_the_schemas(self) -> None:
        for one in self.documents():
            kubernetes_validate.validate(one, KUBERNETES_VERSION, strict=True)
        # The check finds what is wrong.
        wrong = self.of("PodDisruptionBudget")
        wrong["spec"]["maxUnavailble"] = 1
        self.assertRaises(
            kubernetes_validate.ValidationError, kubernetes_validate.validate, wrong, KUBERNETES_VERSION, strict=True
        )

    def test_what_is_applied_is_there(self) -> None:
        """For where kubectl is not installed."""
        found = msgspec.yaml.decode((KUBERNETES / "kustomization.yaml").read_bytes())
        self.assertEqual((found["apiVersion"], found["kind"]), ("kustomize.config.k8s.io/v1beta1", "Kustomization"))
        files = {path.name for path in KUBERNETES.iterdir()}
        self.assertEqual({"kustomization.yaml", *found["resources"]}, files)

    def test_kubectl_reads_them(self) -> None:
        kubectl = shutil.which("kubectl")
        allowed_skip("" if kubectl else "kubectl is not installed")
        ended = subprocess.run(
            [str(kubectl), "kustomize", str(KUBERNETES)], capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(ended.stdout.count("\nkind: "), len(list(self.documents())))

    def test_a_pod_starts_with_its_settings_and_ends_in_time(self) -> None:
        spec = self.of("Deployment")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        environ = {one["name"]: expanded(one["value"]) for one in container["env"] if "value" in one}
        secret = {"KSCHAT_AMQP": "amqp://u:p@rabbitmq/", "KSCHAT_REDIS": "redis://redis", "KSCHAT_SECRET": SECRET}
        config = load({}, {**environ, **secret})
        self.assert_acts_as_one(config)
        self.assertEqual(config.peer_url, "http://10.1.2.3:3001")
        self.assert_ends_in_time(config, spec["terminationGracePeriodSeconds"])
        endpoints = {"clients": config.listen, "peers": config.peer_listen, "operators": config.ops_listen}
        ports = {one["name"]: f"tcp:{one['containerPort']}" for one in container["ports"]}
        self.assertEqual(ports, endpoints)

    def test_a_pod_has_no_privileges_and_is_asked_what_a_restart_mends(self) -> None:
        spec = self.of("Deployment")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        self.assertTrue(spec["securityContext"]["runAsNonRoot"])
        self.assertEqual(spec["securityContext"]["runAsUser"], 10001)
        self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
        self.assertRegex(container["image"], IMAGE)
        paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
        self.assertEqual(paths, {"startup": "/livez", "liveness": "/livez", "readiness": "/healthz"})

    def test_all_parts_mean_the_same_pods(self) -> None:
        labels = self.of("Deployment")["spec"]["template"]["metadata"]["labels"]
        self.assertEqual(self.of("Service")["spec"]["selector"], labels)
        for kind in ("PodDisruptionBudget", "Deployment"):
            self.assertEqual(self.of(kind)["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(self.of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels)
        replicas = self.of("Deployment")["spec"]["replicas"]
        self.assertLess(self.of("PodDisruptionBudget")["spec"]["maxUnavailable"], replicas)
