#!/usr/bin/env python3
"""Compares the `features` example with Hugging Face on random checkpoints of published size.

  python full_size_check.py --features build/examples/features --tokenizer FOLDER
      [--sizes base large] [--precisions double float] [--threads 1 2] [--work FOLDER]

For each size a model with each head (--kinds chooses) and a bare encoder with its pooler are made
with random weights (a few LayerNorm channels far above the rest, as trained models have), saved by
save_pretrained, and run on several texts: by the example, and by transformers in float64 with eager
attention on the token ids that the example reports. FOLDER holds vocab.json, merges.txt and
tokenizer.json of roberta-base. Prints, per tensor, the largest difference divided by the largest
value, and exits 1 where one is above the tolerance, or where a result depends on the threads.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import load_file

SIZES = {"tiny": (64, 2, 2, 256), "base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096)}
CLASSES = {
    "mlm": transformers.RobertaForMaskedLM,
    "encoder": transformers.RobertaModel,
    "sequence": transformers.RobertaForSequenceClassification,
    "token": transformers.RobertaForTokenClassification,
    "question": transformers.RobertaForQuestionAnswering,
    "choice": transformers.RobertaForMultipleChoice,
    "causal": transformers.RobertaForCausalLM,
}
TOLERANCES = {"double": 1e-10, "float": 1e-5, "bf16": 5e-2, "int8": 2e-1}
LONGEST = 512
TEXTS = [
    "Hello <mask>!",
    "",
    "A somewhat longer sentence, with numbers 3.14159 and   several   spaces.",
    "\u00fcn\u00efc\u00f6d\u00e9 \u2014 \u65e5\u672c\u8a9e \U0001f600 <mask> "
    "\u041f\u0440\u0438\u0432\u0435\u0442",
    "x",
    "The weather in the mountains changes within an hour, said the guide; " * 60,
]


def make_checkpoint(folder, size, kind, tokenizer):
    hidden, layers, heads, intermediate = SIZES[size]
    config = transformers.RobertaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=LONGEST + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        is_decoder=kind == "causal",
    )
    model = CLASSES[kind](config)
    generator = torch.Generator().manual_seed(len(size) + len(kind))
    loud = torch.randperm(hidden, generator=generator)[:6]
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if "norm.weight" in name.lower():
                p.copy_(1 + 0.1 * noise)
                p[loud] = 4 + noise[loud].abs()
            elif name.endswith("bias"):
                p.copy_(0.05 * noise)
            elif ".self.query" in name or ".self.key" in name:
                p.copy_(noise * (1 / hidden) ** 0.5)  # attention that is not uniform
            else:
                p.copy_(0.02 * noise)
    model.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, folder / name)


def run_features(program, folder, inputs, precision, threads, output):
    command = [
        str(program),
        "--model",
        str(folder),
        "--input",
        str(inputs),
        "--output",
        str(output),
        "--precision",
        precision,
        "--threads",
        str(threads),
        "--max-length",
        str(LONGEST),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)}\n{done.stderr}")
    return load_file(output)


def truth_of(model, kind, ids):
    inputs = ids[None, None] if kind == "choice" else ids[None]
    with torch.no_grad():
        base = model.base_model(ids[None])
        heads = {} if kind == "encoder" else model(inputs)
    found = {"last_hidden_state": base.last_hidden_state, "pooler_output": base.pooler_output}
    found |= {name: heads.get(name) for name in ("logits", "start_logits", "end_logits")}
    return {name: value[0] for name, value in found.items() if value is not None}


def compare(name, got, wanted, tolerance):
    """The error, and whether it is acceptable."""
    if got is None or got.shape != wanted.shape:
        print(
            f"  {name:24} missing or of another shape: {None if got is None else tuple(got.shape)}"
        )
        return False
    error = float((got.double() - wanted).abs().max() / wanted.abs().max())
    good = error <= tolerance  # false for NaN
    verdict = "" if good else f"  above {tolerance}"
    print(f"  {name:24} {str(tuple(got.shape)):14} {error:.2e}{verdict}")
    return good


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["base", "large"])
    parser.add_argument("--kinds", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--precisions", nargs="+", choices=TOLERANCES, default=["double", "float"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument(
        "--work",
        type=pathlib.Path,
        help="where to put the checkpoints; default: a temporary folder",
    )
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    good = True
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        work = pathlib.Path(temporary)
        inputs = work / "texts.txt"
        inputs.write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
        tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.tokenizer)
        wanted_ids = [
            tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"] for text in TEXTS
        ]
        for size in arguments.sizes:
            for kind in arguments.kinds:
                folder = work / f"{size}-{kind}"
                make_checkpoint(folder, size, kind, arguments.tokenizer)
                runs = {
                    (precision, threads): run_features(
                        arguments.features,
                        folder,
                        inputs,
                        precision,
                        threads,
                        work / "features.safetensors",
                    )
                    for precision in arguments.precisions
                    for threads in arguments.threads
                }
                model = (
                    CLASSES[kind]
                    .from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
                    .eval()
                )
                truths = [truth_of(model, kind, torch.tensor(ids)) for ids in wanted_ids]
                del model
                shutil.rmtree(folder)
                for (precision, threads), got in runs.items():
                    print(f"{size} {kind} {precision}, {threads} threads")
                    for i, truth in enumerate(truths):
                        if got[f"input_ids.{i}"].tolist() != wanted_ids[i]:
                            print(f"  input_ids.{i} differ from the tokenizer of transformers")
                            good = False
                            continue
                        for name, value in truth.items():
                            good &= compare(
                                f"{name}.{i}", got.get(f"{name}.{i}"), value, TOLERANCES[precision]
                            )
                    first = runs[precision, arguments.threads[0]]
                    for name, value in got.items():
                        if not torch.equal(value, first[name]):
                            print(f"  {name} depends on the number of threads")
                            good = False
    print("good" if good else "NOT good")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
