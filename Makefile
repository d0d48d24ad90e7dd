# make demo    the main job on real input, no cloud, no special hardware
# make test    every test that takes seconds
# make check   formatting, types, warnings as errors, the native core under sanitizers, short hunts
# make long    soak, big models, slow peers, long hunts
# make interop verifiers of other projects, built here, on the evidence of our tests, and h2spec on our
#              server (minutes)
# make bench   ours beside the best peer and the machine's limit
# make bench-serving  a server beside other servers, cold, overloaded, and with replicas; half an hour
# make clean   everything these made
#
# Each does its own set-up into .venv and is quick when nothing changed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test check lint types sanitize fuzz fuzz-long long interop bench bench-serving peers clean setup

export PATH := $(PATH):/usr/sbin:/sbin
export ORT_DISABLE_TELEMETRY := 1
unexport PYTHONPATH
# Where it is set every process compiles what it imports, and pytest rewrites every test anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PEER := .venv-tritonclient
TINFOIL := .venv-tinfoil
KSERVE := .venv-kserve
BENCHMARKS := aead verity load seal verify connect release layers
SERVING := serving workers cold_start overload replicas
PEERS := mlserver kserve pytriton
SOURCES := setup.py $(wildcard native/*.pyx native/*.pxd native/src/*.c native/src/*.h)
NATIVE_TESTS := $(wildcard native/*.py tests/native/*.py tests/native/*.c tests/support/native_*.py)
STAMPS := build/stamps
SANITIZE := build/sanitize
SANITIZED := SEALSERVE_SANITIZE=address,undefined $(PY)

demo: setup
	@$(PY) examples/breast_cancer/demo.py

test: setup $(STAMPS)/debian-test $(STAMPS)/debian-bench $(STAMPS)/deps-bench $(STAMPS)/peer $(STAMPS)/tinfoil
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

check: lint types sanitize fuzz

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: setup
	$(VENV)/bin/mypy

sanitize: $(STAMPS)/sanitized

# Every parser under inputs that coverage guides, two at a time; what was learned is resumed. The way
# is the same each time here: a gate judges the change, `fuzz-long` looks for what nobody knows.
fuzz: setup $(STAMPS)/deps-fuzz
	$(PY) tests/fuzz/run.py --seconds 10 --brief 2 --seed 1

fuzz-long: setup $(STAMPS)/deps-fuzz
	$(PY) tests/fuzz/run.py --seconds 1800

long: setup $(STAMPS)/debian-test $(STAMPS)/debian-long $(STAMPS)/peer $(STAMPS)/kserve $(STAMPS)/aarch64 fuzz-long
	$(PY) -m pytest -m long
	$(PY) -m pytest -n 2 -m 'hypothesis and not long' --hypothesis-profile=hunt

# Needs go and cargo; says which it could not build and why.
interop: setup
	$(PY) tests/interop/run.py build/interop
	$(PY) tests/interop/layers.py build/interop
	$(PY) tests/interop/decisions.py build/interop
	$(PY) tests/interop/http2.py build/interop

bench: setup $(STAMPS)/debian-test $(STAMPS)/debian-bench $(STAMPS)/deps-bench
	@mkdir -p build/bench
	@for name in $(BENCHMARKS); do $(PY) benchmarks/$$name.py --json > build/bench/$$name.json; done
	PYTHONPATH=benchmarks $(PY) -m support.draw build/bench docs/bench

bench-serving: setup $(STAMPS)/debian-test $(STAMPS)/debian-bench $(STAMPS)/debian-serving peers
	@mkdir -p build/bench
	@for name in $(SERVING); do $(PY) benchmarks/$$name.py --json > build/bench/$$name.json; done

# Other servers, each with packages of its own. What cannot be installed is told by the benchmark.
peers: $(PEERS:%=$(STAMPS)/peer-%)

clean:
	rm -rf $(VENV) $(PEER) $(TINFOIL) $(KSERVE) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	find native -name '*.so' -delete

# ---- set-up: each stamp is made again only when what it depends on changed

setup: $(STAMPS)/built

$(VENV)/bin/python: | $(STAMPS)/debian-build
	test -x $@ || $(PYTHON) -m venv $(VENV)

$(STAMPS)/deps: pyproject.toml | $(VENV)/bin/python
	$(PY) -m pip install -q --disable-pip-version-check 'setuptools>=77' 'cython>=3.1'
	$(PY) -m pip install -q --disable-pip-version-check --no-build-isolation -e '.[owner,server,azure,trustd,dev]'
	touch $@

# The packages of one more extra, without building the native core again.
EXTRA := import sys, tomllib; table = tomllib.load(open('pyproject.toml', 'rb')); \
  print(*table['project']['optional-dependencies'][sys.argv[1]])

$(STAMPS)/deps-%: $(STAMPS)/deps
	$(PY) -m pip install -q --disable-pip-version-check $$($(PY) -c "$(EXTRA)" $*)
	touch $@

$(STAMPS)/built: $(STAMPS)/deps $(SOURCES)
	$(PY) setup.py -q build_ext --inplace --parallel 2
	touch $@

# The native core once more, with sanitizers, in a folder of its own; then its tests on it.
$(SANITIZE)/built: $(STAMPS)/built
	$(SANITIZED) setup.py -q build_ext --force --parallel 2 --build-lib $(SANITIZE)/lib --build-temp $(SANITIZE)/temp
	touch $@

$(STAMPS)/sanitized: $(SANITIZE)/built $(STAMPS)/debian-test $(NATIVE_TESTS)
	$(SANITIZED) tests/native/sanitize.py $(SANITIZE)/lib
	touch $@

# tritonclient wants an older protobuf than the generated messages of ours, so the peer has its own room.
$(STAMPS)/peer: | $(VENV)/bin/python
	test -x $(PEER)/bin/python || $(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install -q --disable-pip-version-check 'tritonclient[grpc]>=2.50'
	touch $@

# KServe's client comes with its server, some seventy packages, and wants an older protobuf too.
$(STAMPS)/kserve: | $(VENV)/bin/python
	test -x $(KSERVE)/bin/python || $(PYTHON) -m venv $(KSERVE)
	$(KSERVE)/bin/python -m pip install -q --disable-pip-version-check 'kserve>=0.15'
	touch $@

# Triton in PyTriton's wheel is linked with Debian's Python, whose patch level the library's must have.
$(STAMPS)/peer-pytriton: PYTHON = /usr/bin/python3
$(STAMPS)/peer-mlserver: PACKAGE = mlserver>=1.7
$(STAMPS)/peer-kserve: PACKAGE = kserve>=0.21
$(STAMPS)/peer-pytriton: PACKAGE = nvidia-pytriton>=0.7

$(STAMPS)/peer-%: | $(VENV)/bin/python
	test -x build/peers/$*/bin/python || $(PYTHON) -m venv build/peers/$*
	build/peers/$*/bin/python -m pip install -q --disable-pip-version-check '$(PACKAGE)' 'onnxruntime>=1.29' \
	  && touch $@ || rm -rf build/peers/$*

# A verifier of another project, with some forty packages of its own.
$(STAMPS)/tinfoil: | $(VENV)/bin/python
	test -x $(TINFOIL)/bin/python || $(PYTHON) -m venv $(TINFOIL)
	$(TINFOIL)/bin/python -m pip install -q --disable-pip-version-check 'tinfoil>=0.15'
	touch $@

# OpenSSL for another architecture, unpacked beside what is built here; nothing is installed.
AARCH64 := build/aarch64
APT_AARCH64 := apt-get -qq -o APT::Architectures::=arm64 -o APT::Sandbox::User=root \
  -o Dir::State::Lists=$(CURDIR)/$(AARCH64)/lists -o Dir::Cache=$(CURDIR)/$(AARCH64)/cache
$(STAMPS)/aarch64: | $(STAMPS)/debian-long
	rm -rf $(AARCH64)
	mkdir -p $(AARCH64)/lists/partial $(AARCH64)/cache/archives/partial
	$(APT_AARCH64) update
	cd $(AARCH64) && $(APT_AARCH64) download libssl3:arm64 && dpkg -x libssl3_*_arm64.deb .
	touch $@

# What Debian has to bring, as COMMAND:PACKAGE, or FILE:PACKAGE for a library; this one exists for one
# architecture alone.
IPSEC := $(if $(filter x86_64,$(shell uname -m)),/usr/lib/x86_64-linux-gnu/libIPSec_MB.so.1:libipsec-mb1)
HTTP2 := /usr/lib/$(shell $(CC) -print-multiarch)/libnghttp2.so.14:libnghttp2-14
NEEDS_build := gcc:gcc git:git $(HTTP2)
NEEDS_test := veritysetup:cryptsetup-bin unzip:unzip strace:strace openssl:openssl jq:jq pgrep:procps e2fsck:e2fsprogs
NEEDS_bench := fsverity:fsverity h2load:nghttp2-client $(IPSEC)
NEEDS_serving := haproxy:haproxy
NEEDS_long := valgrind:valgrind buildah:buildah podman:podman runc:runc debootstrap:debootstrap qemu-aarch64:qemu-user \
  aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/lib/libc.so.6:libc6-dev-arm64-cross

$(STAMPS)/debian-%:
	@mkdir -p $(STAMPS)
	@missing=""; for need in $(NEEDS_$*); do \
	  command -v "$${need%%:*}" >/dev/null || test -f "$${need%%:*}" || missing="$$missing $${need##*:}"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	  else \
	    echo "missing Debian packages; run: sudo apt-get install -y$$missing" >&2; exit 1; \
	  fi; \
	fi
	@touch $@
