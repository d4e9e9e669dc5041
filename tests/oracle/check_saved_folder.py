#!/usr/bin/env python3
"""Loads a model folder in Hugging Face transformers and fails on anything it has to complain about.

  python check_saved_folder.py FOLDER [--class RobertaForMaskedLM] [--no-pooler] [--like FOLDER]

The class is the one that `architectures` in config.json names, unless given. Missing, unexpected
and mis-shaped keys are errors, and so are parameters that are not finite. With --like, every
parameter must equal, in the type of the saved one, the same parameter of that other folder. An
encoder that was saved without its pooler needs --no-pooler: transformers makes a new one otherwise.
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers


def load(folder, name, options):
    model, report = getattr(transformers, name).from_pretrained(
        folder, output_loading_info=True, **options
    )
    return model.eval(), report


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--class", dest="name")
    parser.add_argument("--no-pooler", action="store_true")
    parser.add_argument("--like", type=pathlib.Path)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    values = json.loads((arguments.folder / "config.json").read_text())
    name = arguments.name or (values.get("architectures") or [None])[0]
    if name is None:
        print("error: config.json has no 'architectures'; name the class with --class")
        return 2
    failures = []
    options = {"add_pooling_layer": False} if arguments.no_pooler else {}
    # What the Auto classes go by.
    auto = transformers.AutoConfig.from_pretrained(arguments.folder)
    model, report = load(arguments.folder, name, options)
    if type(auto) is not type(model.config):
        failures.append(
            f"model_type says {type(auto).__name__}, {name} takes {type(model.config).__name__}"
        )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        failures += [f"{kind}: {key}" for key in sorted(map(str, report[kind]))]
    state = model.state_dict()
    failures += [
        f"{key} is not finite"
        for key, value in state.items()
        if not bool(torch.isfinite(value).all())
    ]
    with torch.no_grad():
        ids = torch.tensor([[0, min(5, model.config.vocab_size - 1), 2]])
        output = model(ids[None] if name.endswith("MultipleChoice") else ids)
    failures += [
        f"output {i} is not finite"
        for i, value in enumerate(output.to_tuple())
        if torch.is_tensor(value) and not bool(torch.isfinite(value).all())
    ]
    if arguments.like:
        other, _ = load(arguments.like, name, options)
        others = other.state_dict()
        for key, value in state.items():
            if key not in others or not torch.equal(others[key].to(value.dtype), value):
                failures.append(f"{key} differs from {arguments.like}")
    for failure in failures:
        print("error:", failure)
    print(
        f"{arguments.folder}: {name}, {len(state)} tensors, {model.dtype}, {len(failures)} failures"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
