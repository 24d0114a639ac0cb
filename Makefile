setup: .venv/.stamp
.venv/.stamp: requirements.lock pyproject.toml scripts/setup
	scripts/setup
