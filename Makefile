# One verb for each thing one does daily; each works from a clean clone. `make run` and open what it prints.

# The first Python from 3.11 on that really starts (version managers leave names behind that do not).
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
# Where npm's packages are: the clients of the tests, and the tutorial's server.
NODE := $(patsubst %/package-lock.json,%,$(wildcard tests/node/package-lock.json bench/peers/node/package-lock.json))
CODE := kschat tests tools attack chaos soak fuzz simulate examples $(if $(wildcard bench/*.py),bench)
# Not for mypy: to it our twisted/plugins would hide Twisted itself, the tac is a second module kschat, setuptools has no types.
SCRIPTS := twisted/plugins kschat.tac setup.py

.PHONY: run test unit lint types format docs pictures site bench bench-page bench-admin bench-postgresql bench-hooks chaos rolling \
	soak attack simulate differential fuzz conformance compatibility dist deb image deb-test image-test audit lock clean

run: $(VENV)/.installed
	@echo "kschat demo: open http://127.0.0.1:$${PORT:-3000}/?uid=1&rid=2 in one tab"
	@echo "              and http://127.0.0.1:$${PORT:-3000}/?uid=2&rid=1 in another; Ctrl-C ends it"
	@exec $(BIN)/twistd -n --pidfile= kschat --demo

# A short run; KSCHAT_TESTS_PROFILE=whole takes all examples and faults, as CI does. T=tests.chat runs some of them.
test: $(VENV)/.dev system-packages node peers
	@$(BIN)/python tools/run_tests.py $(T)

# Those that need no service: no other process, no Redis, RabbitMQ, Node.js or browser.
unit: $(VENV)/.dev
	@$(BIN)/python tools/run_tests.py $(or $(T),$$($(BIN)/python tools/unit_tests.py))

lint: $(VENV)/.dev
	$(BIN)/ruff check $(CODE) $(SCRIPTS)
	$(BIN)/ruff format --check $(CODE) $(SCRIPTS)

types: $(VENV)/.dev
	$(BIN)/mypy $(CODE)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet $(CODE) $(SCRIPTS)
	$(BIN)/ruff format $(CODE) $(SCRIPTS)

# The generated parts of docs/, and man pages and completion in deploy/.
docs: $(VENV)/.installed
	$(BIN)/python tools/make_docs.py

# The pictures of the pages in docs/, made by Chromium from the running pages; PICTURES=admin_picture makes that one.
pictures: $(VENV)/.dev system-packages node
	$(BIN)/python -m tools.make_pictures $(PICTURES)

# The documentation as HTML in build/site, with an API reference; needs no network once its packages are there.
site: $(VENV)/.dev
	$(BIN)/python tools/make_site.py

# All peers in turns, some minutes; BENCH="node relay --rounds 3" measures less, see `python -m bench --help`.
bench: $(VENV)/.dev system-packages node
	$(BIN)/python -m bench $(BENCH)

# The page in Chromium: first paint, 1,000 messages in a second, 10,000 missed ones, 100,000 scrolled, memory; a minute or two.
bench-page: $(VENV)/.dev system-packages node
	$(BIN)/python -m bench.page $(BENCH)

# A PostgreSQL that holds 10,000,000 messages: how long History, Conversations and connecting take, and its plans; some fifteen
# minutes, and 8 GB below $TMPDIR. BENCH="--messages 200000" takes fewer.
bench-postgresql: $(VENV)/.dev system-packages
	$(BIN)/python -m bench.history --plans $(BENCH)

# What an open admin page costs a daemon with 5,000 sockets that chat; five minutes or so.
bench-admin: $(VENV)/.dev system-packages node
	$(BIN)/python -m bench.admin $(BENCH)

# What hooks cost those who send: p99 with them and without, with receivers that are quick, slow, wrong and down; ten minutes.
bench-hooks: $(VENV)/.dev
	$(BIN)/python -m bench.hooks $(BENCH)

# Twenty kills of one daemon, of real clients in full talk; a cluster, with 36 faults of its daemons, RabbitMQ, Redis, their
# connections and a disk; each fault of a process alone; and a PostgreSQL with a synchronous standby, each fault of the two
# once: some ten minutes. CHAOS="--cluster --seed 7 --faults 5" does one, otherwise.
chaos: $(VENV)/.dev system-packages node
ifdef CHAOS
	$(BIN)/python -m chaos $(CHAOS)
else
	$(BIN)/python -m chaos
	$(BIN)/python -m chaos --cluster
	$(BIN)/python -m chaos --alone
	$(BIN)/python -m chaos --postgresql --faults 8
endif

# Three daemons behind haproxy, restarted one by one under 300 clients of all versions: who was refused, who was away for how
# long, and how many connected in a second. A minute or two. ROLLING=--from restarts from the release before to this version,
# ROLLING="--from main~20" from another one, ROLLING="--from PATH" from the source in a directory.
rolling: $(VENV)/.dev system-packages node
	$(BIN)/python -m chaos --rolling $(ROLLING)

# 5,000 clients that come, go, poll and sleep, for MINUTES (20), and whether anything grows meanwhile: memory, open files, timers,
# what is stored. SOAK=--cluster is of two daemons on RabbitMQ and Redis; SOAK=--write puts picture and figures into docs/.
soak: $(VENV)/.dev system-packages
	$(BIN)/python -m soak --minutes $(or $(MINUTES),20) $(SOAK)

# Attacks on daemons of the loopback beside a healthy pair, more than half an hour; ROW="connections tls-" plays the rows whose names
# begin with one of these.
attack: $(VENV)/.dev system-packages
	$(BIN)/python -m attack $(ROW)

# Random sequences of what clients do, in each world, with an oracle beside: some minutes. DIFFERENTIAL="cluster --seed 7 --operations 500"
# plays others. `make test` plays a short profile.
differential: $(VENV)/.dev system-packages
	$(BIN)/python -m tests.differential $(DIFFERENTIAL)

# Whole clusters in one process, on a clock and by chances that a seed decides, with faults of all parts: a seed takes a third of a
# second. SEEDS=10000 plays as many; SEED=7 begins there; SIMULATE="--one --seed 7" plays one, and prints all that happens. What fails
# is shrunk. `make test` plays some.
SEEDS ?= 200
SEED ?= 0
simulate: $(VENV)/.dev
	$(BIN)/python -m simulate $(or $(SIMULATE),--seeds $(SEEDS) --seed $(SEED))

# How many seeds find each of the planted bugs (simulate/mutants.py); MUTANTS="gap-not-read" looks for some.
simulate-mutants: $(VENV)/.dev
	$(BIN)/python -m simulate --mutants $(MUTANTS)

# Random bytes for all parsers of untrusted data, a minute each; FUZZ="session events --seconds 600 --keep" fuzzes some,
# longer, and keeps inputs that cover more code. `make test` plays the kept inputs.
fuzz: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m fuzz $(FUZZ)

# The Autobahn test suite's cases, some minutes; CASES="1.* 12.1.1" runs some. Writes docs/conformance.md.
conformance: $(VENV)/.dev
	$(BIN)/python -m tests.conformance.autobahn $(CASES)

# The tutorial's scenario with every client, a minute. Writes the table in docs/compatibility.md.
compatibility: $(VENV)/.dev system-packages node peers
	$(BIN)/python -m tests.compatibility

# In dist/: the wheel, the sdist, and the list of their packages (SBOM) in the format of CycloneDX.
dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--output-file dist/kschat.cdx.json deploy/container/requirements.lock

# In dist/: a package for the release of Debian that runs this.
deb: $(VENV)/.dev
	$(BIN)/python tools/make_deb.py

# The container image, with podman. IMAGE="--build-arg BASE=debian@sha256:…" gives it further options. Each file has the time of
# the last commit, and there is one layer: the same commit on the same base has the same layers, and the same digest where it is
# pushed with --format oci.
PODMAN ?= podman
image:
	$(PODMAN) build --format docker --layers=false --timestamp $${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} \
		--tag kschat --file deploy/container/Containerfile $(IMAGE) .

# The package in a root made by debootstrap: installed, it serves; purged, it leaves nothing. As root, on Debian, some minutes; the
# root is kept in build/.
deb-test: $(VENV)/.dev system-packages node
	@tools/system_packages.sh packaging
	@KSCHAT_TESTS_REQUIRE=1 $(BIN)/python tools/run_tests.py tests.installation.debian_package

# The image, built twice on such a root, and run. Some minutes.
image-test: $(VENV)/.dev system-packages node
	@tools/system_packages.sh packaging
	@KSCHAT_TESTS_REQUIRE=1 $(BIN)/python tools/run_tests.py tests.installation.container_image

# The licence of each file, and known vulnerabilities of the locked packages. That needs the network: a package that could not be
# looked up is a failure.
audit: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[audit]'
	$(BIN)/reuse lint
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement deploy/container/requirements.lock || { \
		echo "audit: a locked package has a known vulnerability, or (if the line above says so) could not be looked up:" \
			"no network, or an index without that service" >&2; exit 1; }

# The newest versions of the image's packages, with their hashes, into the lock files of deploy/container/.
lock: $(VENV)/.dev
	$(BIN)/python tools/make_lock.py

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis $(NODE:=/node_modules)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name dropin.cache -type f -delete

# Stamps, so that a second run is quick. They lie in what they vouch for and go with it.
$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "kschat needs Python 3.11 or newer, and none was found" >&2; exit 1; }
	@tools/system_packages.sh venv $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml setup.py
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml setup.py
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

.PHONY: system-packages node peers
system-packages:
	@tools/system_packages.sh browser
	@tools/system_packages.sh services
	@tools/system_packages.sh proxies
	@tools/system_packages.sh operations
	@tools/system_packages.sh clock
	@tools/system_packages.sh disk
	@tools/system_packages.sh readme

node: $(NODE:=/node_modules/.installed)

# python-socketio's clients of both generations, each in a directory of its own.
peers: $(VENV)/peers/socketio4/.installed $(VENV)/peers/socketio5/.installed

$(VENV)/peers/%/.installed: tests/python/%.txt $(VENV)/.created
	@rm -rf $(@D)
	$(BIN)/pip install --quiet --disable-pip-version-check --target $(@D) --requirement $<
	@touch $@

$(NODE:=/node_modules/.installed): %/node_modules/.installed: %/package-lock.json | system-packages
	@if command -v npm >/dev/null; then cd $* && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.installed; \
	else echo "npm is missing: what needs the packages of $* will be skipped" >&2; fi
