.PHONY: up test test-quick docs format lint imports types checks migrations ops tutorial ci chaos first-file bench late-effects races sweep-bench verify-bench rolling-deploy recovery soak soak-plain

# Written by `.ci/run` when it has installed the development tools.
tools := .venv/requirements-dev.installed
$(tools): requirements.txt requirements-test.txt requirements-dev.txt ; .ci/run tools
docs format first-file bench late-effects races sweep-bench verify-bench rolling-deploy recovery soak soak-plain: $(tools)

up: ; python3 manage.py up
test: ; python3 manage.py test $(ARGS)
test-quick: ; python3 manage.py test --quick $(ARGS)
docs: ; .venv/bin/python -m tests.documents
format: ; .venv/bin/ruff format . && .venv/bin/ruff check --fix .
lint imports types checks migrations ops tutorial: ; .ci/run $@
ci: ; .ci/run
chaos: ; CAMPUSG_TEST_CHAOS=1 python3 manage.py test --lane servers -m chaos
first-file: ; .venv/bin/python -m benchmarks.first_file --runs $(or $(RUNS),9)
bench: ; .venv/bin/python -m benchmarks.order5 $(ARGS)
late-effects: ; .venv/bin/python benchmarks/late_effects.py --orders $(or $(ORDERS),5000) --seed $(or $(SEED),1)
races: ; .venv/bin/python -m benchmarks.races --rounds $(or $(ROUNDS),1000)
sweep-bench: ; .venv/bin/python -m benchmarks.sweep_timers --timers $(or $(TIMERS),10000)
verify-bench: ; .venv/bin/python -m benchmarks.verify_orders --orders $(or $(ORDERS),100000)
rolling-deploy: ; .venv/bin/python -m benchmarks.rolling_deploy --orders $(or $(ORDERS),240) --seed $(or $(SEED),1)
recovery: ; .venv/bin/python -m benchmarks.recovery --kills $(or $(KILLS),120) --orders $(or $(ORDERS),1000)
soak: ; .venv/bin/python -m benchmarks.soak --orders $(or $(ORDERS),500) --seed $(or $(SEED),1) $(ARGS)
soak-plain: ; .venv/bin/python -m benchmarks.soak --plain --orders $(or $(ORDERS),500) --seed $(or $(SEED),1) $(ARGS)
