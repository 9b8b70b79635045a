# Thin targets: the work is done by xtask. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lab labs record-labs bench fuzz check-object kernels cluster dist image soak

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## install what is missing to build and test (quick when nothing is)
	@xtask/bootstrap.sh
	@cargo xtask setup

demo: ## a network with a real fault, and what tracer says (root)
	@xtask/bootstrap.sh
	@cargo xtask demo

test: setup ## everything that can be tested: check, live tests, labs (root)
	@cargo xtask test

check: setup ## formatting, lints, licences, unit and replayed tests (no root)
	@cargo xtask check

lab: setup ## run labs: make lab FILES="tests/labs/route/ttl-loop.toml" (root)
	@cargo xtask lab $(or $(FILES),$(error say which: make lab FILES=...))

labs: setup ## run all labs with all their fixes, with a score for each family (root)
	@cargo xtask labs

record-labs: setup ## run labs and keep their recordings for replayed tests (root)
	@cargo xtask record-labs $(FILES)

bench: setup ## what tracer costs, some minutes: make bench [ROWS=cost,router,ready] (root)
	@cargo xtask bench $(ROWS:%=--rows %)

fuzz: setup ## bytes that break a reader are looked for: make fuzz [SECONDS=60] [TARGETS="btf netlink"]
	@cargo xtask fuzz $(SECONDS:%=--seconds %) $(TARGETS:%=--target %)

check-object: setup ## what the built eBPF object contains
	@cargo xtask check-object

kernels: setup ## load and run labs on other kernels, in virtual machines: make kernels [VERSIONS="5.10 6.1"] [ARCH=aarch64] [FILES=...] (root)
	@cargo xtask kernels $(ARCH:%=--arch %) $(VERSIONS:%=--kernel %) $(FILES)

cluster: setup ## a Kubernetes of two nodes in namespaces, and what tracer says of what breaks in it: make cluster [FILES="tests/cluster/hairpin.toml"] (root)
	@cargo xtask cluster run $(FILES)

dist: setup ## what is handed out, in target/dist: binaries, .deb, images, man pages: make dist [TWICE=1]
	@cargo xtask dist $(if $(TWICE),--twice)

image: setup ## the container images alone, in target/dist, for ctr image import and docker load
	@cargo xtask image

soak: setup ## a busy node, for minutes: no alarm, counters equal, nothing left: make soak [SECONDS=600] (root)
	@cargo xtask soak $(SECONDS:%=--seconds %)
