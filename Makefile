# Balsa's commands. Everything runs through npm scripts (package.json); `make help` lists the targets.

.DEFAULT_GOAL := help
.PHONY: help install build check test sim determinism mutants bench demo cluster clean

# What node_modules was installed from: installing compiles SQLite, which takes minutes.
INSTALLED := node_modules/.installed-lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## install the dependencies if the lock file changed
	@cmp -s package-lock.json $(INSTALLED) || { \
	  echo "installing; SQLite is compiled, which takes a few minutes" && \
	  npm ci && cp package-lock.json $(INSTALLED); }

build: install ## compile src/ to dist/
	npm run --silent build

check: install ## formatter, linter, types and house rules
	npm run --silent check
	npm run --silent tidy

test: build ## check and test everything; the last line counts
	@npm run --silent test:all

sim: install ## simulator: SEEDS=200 runs many seeds, SEED=123 replays one, SHRINK=1 makes a failing one smaller
	@npm run --silent sim -- $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),200)) $(if $(FROM),--from $(FROM)) \
	  $(if $(WITHOUT),--without $(WITHOUT)) $(if $(ONLY),--only $(ONLY)) $(if $(MACHINE),--machine $(MACHINE)) $(if $(SHRINK),--shrink)

mutants: install ## take each guard out and see that a test fails: ONLY=A3,D9 for some
	@npm run --silent mutants -- $(if $(ONLY),--only $(ONLY))

determinism: install ## generated proof that nodes agree: RUNS=500 SEED=1
	npm run --silent determinism -- --runs $(or $(RUNS),500) --seed $(or $(SEED),1)

bench: build ## measure a cluster on this machine: METRIC=write for one figure, ARGS="--window 3"
	@npm run --silent bench -- $(if $(METRIC),--metric $(METRIC)) $(ARGS)

demo: build ## three nodes, 135,233 cities, kill the leader, lose nothing
	@node --import tsx cluster/demo.ts

cluster: build ## three-node development cluster in the foreground; Ctrl-C stops it
	@node dist/cli/main.js cluster --dir cluster/data

clean: ## remove what was built and the development cluster's data
	rm -rf dist cluster/data
