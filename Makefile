# Two commands: `make demo` shows the flagship scenario, `make test` sets up and runs the tests.
.PHONY: setup demo test check pure bench tools table clean

setup:
	scripts/setup

demo: setup
	.venv/bin/testbed run imo-goes-dark

test: setup
	scripts/browser
	scripts/check
	scripts/test

check:
	scripts/check

pure:
	.venv/bin/python -m pytest -m "not live" -n auto

bench:
	scripts/bench

# every circumvention tool that a recipe can get: apt packages, pinned Go modules and Python packages
tools: setup
	.venv/bin/testbed tool install --all

# docs/tools.json against every recipe that is installed here: hours; POLICIES="tm-2022 china" RECIPES="ssh tor" for fewer
table: setup
	scripts/table

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: docs man vm-test
docs: setup
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

man: setup
	.venv/bin/python -m testbed.manual build/man

# a real Debian 12 machine under emulation, by the Vagrantfile: some 15 minutes, and root on amd64
vm-test:
	scripts/vmtest
