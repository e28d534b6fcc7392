# `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test test-deploy lint format dev services bench screenshots requirements packages
PYTHON := .venv/bin/python
ARGS ?=

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'

run: ## From a fresh clone to a running site at http://127.0.0.1:8000 (HOST and PORT change that)
	@exec deploy/local/run

test: ## Every test but tests/deploy, installing and starting what they need (ARGS are pytest's)
	@exec deploy/local/test $(ARGS)

test-deploy: ## The tests of the deployments: real machines and containers, as root (ARGS are pytest's)
	@exec deploy/local/test-deploy $(ARGS)

lint: ## Style, types, templates, migrations
	@exec deploy/local/lint

format: ## Rewrite the code in the style that lint asks for
	@deploy/local/venv dev
	@$(PYTHON) -m ruff check --fix --exit-zero --quiet .
	@$(PYTHON) -m ruff format .

dev: ## A site that restarts when the code changes, on the servers of `make services` if they run
	@exec deploy/local/dev

services: ## A private RabbitMQ and PostgreSQL in the foreground, for development
	@deploy/local/venv dev
	@exec $(PYTHON) -m deploy.local.services --env-file .services.env

bench: ## Measure speed, beside other ways to serve
	@deploy/local/venv dev
	@exec $(PYTHON) -m tests.benchmarks $(ARGS)

screenshots: ## Take the pictures of the README anew
	@deploy/local/venv dev
	@$(PYTHON) -m tests.browser.screenshots

requirements: ## Compile requirements/*.in into pinned *.txt
	@deploy/local/venv dev
	@requirements/compile
