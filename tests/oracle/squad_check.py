#!/usr/bin/env python3
"""Compares `answer --squad` with Hugging Face on a whole SQuAD file and a model of real size.

  python squad_check.py --answer build/examples/answer --tokenizer FOLDER --squad FILE
      [--hidden 256] [--layers 4] [--sample 500] [--precisions float double] [--whole float]
      [--threads 1]

A question answering model with random weights is saved by save_pretrained, with the tokenizer of
roberta-base from FOLDER (vocab.json, merges.txt). The example answers every question of FILE in
the precision that --whole names, and a random sample of them in the others. For the sample,
transformers computes the logits in the same precision (float or double), and the rule of run_qa.py
chooses (question_answering_fixtures.py). Prints how many predictions are equal, and for each other
one by how much the two texts differ in the logits of transformers: near ties may go either way.
Exits 1 where one that is no near tie differs. Needs transformers 4.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

from model_fixtures import randomize
from question_answering_fixtures import (
    favour_none, squad_choice, squad_features, squad_logits,
)

NEAR = 1e-4  # of logits, which are around 3


def make_model(folder, tokenizer, hidden, layers):
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, intermediate_size=4 * hidden,
        max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
    )
    model = transformers.RobertaForQuestionAnswering(config)
    randomize(model, torch.Generator().manual_seed(1))
    favour_none(model, tokenizer, 13)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def questions_of(squad):
    paragraphs = [p for article in squad["data"] for p in article["paragraphs"]]
    questions = [(qa["id"], qa["question"], p["context"]) for p in paragraphs for qa in p["qas"]]
    return questions, any("is_impossible" in qa for p in paragraphs for qa in p["qas"])


def with_questions(squad, ids):
    """The file with those questions alone."""
    return {"data": [{"paragraphs": [
        dict(p, qas=[qa for qa in p["qas"] if qa["id"] in ids]) for p in article["paragraphs"]
    ]} for article in squad["data"]]}


def margin(context, features, logits, negative, wanted):
    """By how much the logits must change at most to make `wanted` the choice; None: beyond NEAR."""
    generator = torch.Generator().manual_seed(2)
    for step in (NEAR / 100, NEAR / 10, NEAR):
        for _ in range(100):
            changed = [
                tuple(x + step * torch.randn(len(x), generator=generator, dtype=torch.float64)
                      .numpy() for x in pair) for pair in logits
            ]
            if squad_choice(context, features, changed, negative)[0] == wanted:
                return step
    return None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answer", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--squad", required=True)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--precisions", nargs="+", default=["float", "double"])
    parser.add_argument("--whole", default="float")
    parser.add_argument("--threads", default="1")
    arguments = parser.parse_args()
    torch.set_num_threads(int(arguments.threads))
    tokenizer = transformers.RobertaTokenizerFast(
        vocab_file=arguments.tokenizer + "/vocab.json",
        merges_file=arguments.tokenizer + "/merges.txt", model_max_length=512)
    squad = json.loads(pathlib.Path(arguments.squad).read_text())
    questions, negative = questions_of(squad)
    sample = random.Random(1).sample(questions, min(arguments.sample, len(questions)))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        make_model(folder, tokenizer, arguments.hidden, arguments.layers)
        for precision in arguments.precisions:
            file = arguments.squad
            if precision != arguments.whole:
                file = folder + "/sample.json"
                ids = {key for key, _, _ in sample}
                pathlib.Path(file).write_text(json.dumps(with_questions(squad, ids)))
            output = pathlib.Path(folder) / f"{precision}.predictions.json"
            begin = time.monotonic()
            subprocess.run(
                [arguments.answer, "--model", folder, "--squad", file, "--output",
                 str(output), "--precision", precision, "--threads", arguments.threads], check=True)
            seconds = time.monotonic() - begin
            predictions = json.loads(output.read_text())
            wanted = questions if precision == arguments.whole else sample
            assert sorted(predictions) == sorted(key for key, _, _ in wanted)
            print(f"{precision}: {len(predictions)} predictions in {seconds:.0f} s, "
                  f"{sum(text == '' for text in predictions.values())} of no answer", flush=True)
            if precision not in ("float", "double"):
                continue
            model = transformers.RobertaForQuestionAnswering.from_pretrained(
                folder, dtype=torch.float64 if precision == "double" else torch.float32,
                attn_implementation="eager").eval()
            equal, windows = 0, 0
            for key, question, context in sample:
                features = squad_features(tokenizer, question, context, 384, 128)
                logits = squad_logits(model, features)
                windows += len(features)
                right = squad_choice(context, features, logits, negative)[0]
                if predictions[key] == right:
                    equal += 1
                    continue
                step = margin(context, features, logits, negative, predictions[key])
                failed = failed or step is None
                print(f"  {key}: {predictions[key]!r}, not {right!r}; "
                      + (f"a near tie: {step:g}" if step else "NO near tie"))
            print(f"{precision}: {equal} of {len(sample)} equal, in {windows} windows", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
