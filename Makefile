# One entry for everything. Every target with a help text is printed by `make` alone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:
.SUFFIXES:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
PIP := $(BIN)/pip -qq --disable-pip-version-check

# What the Python packages need to be built, and what the tests run: systemd-python is compiled against libsystemd,
# and systemd-journal-remote writes the real journal files that the tests read.
APT := gcc libc6-dev libsystemd-dev pkg-config python3-dev python3-venv systemd-journal-remote xz-utils

# What the laboratory needs beside that: machines in software, and Debian 13 to put into them.
LAB_APT := qemu-system-x86 debootstrap e2fsprogs

# What a Ceph cluster on loopback needs: its daemons, the agent's librados, and nftables to cut one node off.
CEPH_APT := ceph-mon ceph-mgr ceph-osd ceph-common python3-rados nftables

# Installs those Debian packages of a list that are missing: $(call need,WHO,PACKAGES).
define need
command -v dpkg-query >/dev/null || exit 0
missing=()
for package in $(2); do
  status=$$(dpkg-query -W -f='$${db:Status-Status}' "$$package" 2>/dev/null || true)
  [ "$$status" = installed ] || missing+=("$$package")
done
[ "$${#missing[@]}" -gt 0 ] || exit 0
echo "$(1): installing $${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "$${missing[@]}" >/dev/null
endef

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

.PHONY: setup
setup: $(STAMP) ## system packages (as root, only those missing) and the virtual environment .venv

# Debian packages are looked up only when setup runs anew; apt is run only when one is missing.
$(STAMP): pyproject.toml
	@if command -v dpkg-query >/dev/null; then
	  missing=()
	  for package in $(APT); do
	    status=$$(dpkg-query -W -f='$${db:Status-Status}' "$$package" 2>/dev/null || true)
	    [ "$$status" = installed ] || missing+=("$$package")
	  done
	  if [ "$${#missing[@]}" -gt 0 ]; then
	    if [ "$$(id -u)" -ne 0 ]; then
	      echo "setup: Debian packages are missing. As root: apt-get install --no-install-recommends $${missing[*]}" >&2
	      exit 1
	    fi
	    echo "setup: installing $${missing[*]}"
	    export DEBIAN_FRONTEND=noninteractive
	    apt-get update -qq
	    apt-get install -qq -y --no-install-recommends "$${missing[@]}" >/dev/null
	  fi
	else
	  echo "setup: not Debian: make sure that the equivalents of these are here: $(APT)" >&2
	fi
	if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	  echo "setup: $(PYTHON) is older than 3.11; name a newer one: make setup PYTHON=python3.13" >&2
	  exit 1
	fi
	echo "setup: $$($(PYTHON) --version) into $(VENV)"
	[ -x $(BIN)/python ] || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --editable '.[dev]'
	touch $@

.PHONY: test
test: $(STAMP) ## the whole test suite, campaigns in their short form
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup $(PYTEST)

.PHONY: long
long: $(STAMP) ## the whole test suite, campaigns in their full length
	@FAULTLINE_LONG=1 $(BIN)/python -m pytest -q --timeout 3600 $(PYTEST)

.PHONY: check
check: $(STAMP) ## formatting, lint, types, direction of imports, generated documents
	@failed=()
	run() {
	  echo "check: $$*"
	  "$$@" || failed+=("$${1##*/} $${2:-}")
	}
	run $(BIN)/ruff format --check --quiet .
	run $(BIN)/ruff check --quiet .
	run $(BIN)/mypy --no-error-summary
	run $(BIN)/lint-imports
	run $(BIN)/python -m docs.generate --check
	if [ "$${#failed[@]}" -gt 0 ]; then
	  printf 'check: failed: %s\n' "$${failed[@]}" >&2
	  exit 1
	fi
	echo "check: all clean"

.PHONY: lab
lab: lab-tools ## break real NFS, iSCSI, multipath and LVM in emulated machines; print when each fault was seen and cleared (40 minutes)
	@$(BIN)/python -m tests.lab.run $(LAB)

.PHONY: lab-short
lab-short: lab-tools ## the same with two machines and five faults (10 minutes); what continuous integration runs
	@$(BIN)/python -m pytest -q -m lab tests/lab -s -o faulthandler_timeout=600 $(PYTEST)

.PHONY: lab-tools
lab-tools: $(STAMP)
	@$(call need,lab,$(LAB_APT))

.PHONY: ceph
ceph: ceph-tools ## break a real Ceph cluster in every way, and print what was told of each fault (30 minutes, root; CEPH="--only NAME")
	@$(BIN)/python -m tests.ceph.run $(CEPH)

.PHONY: ceph-short
ceph-short: ceph-tools ## the same with eleven faults, wrong keys and frozen monitors (8 minutes); what continuous integration runs
	@$(BIN)/python -m pytest -q -m ceph tests/ceph -s -o faulthandler_timeout=600 $(PYTEST)

.PHONY: ceph-tools
ceph-tools: $(STAMP)
	@$(call need,ceph,$(CEPH_APT))

.PHONY: docs
docs: $(STAMP) ## write docs/events.md and docs/events.schema.json anew from the code
	@$(BIN)/python -m docs.generate

.PHONY: demo
demo: $(STAMP) ## three agents and a controller live through a real recording, in a minute; HOLD=1 keeps them up
	@$(BIN)/python -m demo.run $(if $(HOLD),--hold)

.PHONY: bench
bench: $(STAMP) ## measure throughput, classification, footprint, latency and, with Ceph and QEMU, the agent beside a cluster and among 40 paths; beside yardsticks in the same run (4 minutes, with Ceph 10, with QEMU 25; BENCH=--quick)
	@$(BIN)/python -m bench.run $(BENCH)

.PHONY: bench-localize
bench-localize: $(STAMP) ## how well faults are named, beside six baselines, on generated clusters; writes docs/benchmark.md (30 minutes; BENCH="--trials 100")
	@$(BIN)/python -m bench.localize --all --trials 600 --plot docs/benchmark.svg --write docs/benchmark.md $(BENCH)

.PHONY: clean
clean: ## remove everything that was made here, the virtual environment too
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +
