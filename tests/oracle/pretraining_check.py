#!/usr/bin/env python3
"""Pre-trains in Hugging Face transformers and PyTorch what `pretrain` pre-trained, and compares.

  python pretraining_check.py FOLDER... --corpus TEXT --dev TEXT

Each FOLDER is one run of `pretrain` with blocks of whole sentences, on the same TEXT, in float and
without dropout; the folders differ in their seeds. The reference takes all settings, the size of
the model and the tokenizer from the folder, and draws weights, orders and masks on its own, from
PyTorch. Both are measured by the same code, on the same held-out blocks with the same masks. Exits
1 where the mean of our perplexities is more than 1 % above that of the reference.
"""

import argparse
import json
import math
import os
import pathlib
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from torch.nn.functional import cross_entropy

from pretraining_law import blocks_of, documents_of, roberta_masked

DECAY_EXEMPT = ("bias", "LayerNorm.weight", "layer_norm.weight")


def batches(blocks, size, pad):
    """Padded blocks without end, in an order drawn anew for each epoch."""
    order = []
    while True:
        while len(order) < size:
            order += torch.randperm(len(blocks)).tolist()
        taken, order = order[:size], order[size:]
        rows = [torch.tensor(blocks[i]) for i in taken]
        yield torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)


def masked(batch, lengths, mask, vocab):
    """What the model sees, and which tokens it has to guess: 15 % of each block, special tokens
    included; of these 80 % show the mask, 10 % another token, 10 % themselves. The law of fairseq's
    mask_tokens_dataset.py."""
    counts = (0.15 * lengths + torch.rand(len(lengths))).long()
    draws = torch.rand(batch.shape)
    draws[torch.arange(batch.shape[1]) >= lengths[:, None]] = 2
    chosen = draws.argsort(1).argsort(1) < counts[:, None]
    draw = torch.rand(batch.shape)
    shown = torch.where(chosen & (draw < 0.8), mask, batch)
    others = torch.randint(4, vocab, batch.shape)
    return torch.where(chosen & (draw >= 0.8) & (draw < 0.9), others, shown), chosen


def pretrained(config, settings, tokenizer, blocks):
    """The reference."""
    torch.manual_seed(settings["seed"])
    model = transformers.RobertaForMaskedLM(config).train()
    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[not name.endswith(DECAY_EXEMPT)].append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": groups[True], "weight_decay": settings["weight-decay"]},
         {"params": groups[False], "weight_decay": 0.0}],
        lr=settings["lr"], betas=(settings["beta1"], settings["beta2"]), eps=settings["eps"])
    schedule = transformers.get_scheduler(
        settings["schedule"], optimizer, settings["warmup"], settings["steps"])
    following = batches(blocks, settings["batch"], tokenizer.pad_token_id)
    for step in range(1, settings["steps"] + 1):
        batch = next(following)
        inside = batch != tokenizer.pad_token_id
        shown, chosen = masked(batch, inside.sum(1), tokenizer.mask_token_id, len(tokenizer))
        hidden = model.roberta(shown, attention_mask=inside.long()).last_hidden_state
        loss = cross_entropy(model.lm_head(hidden[chosen]), batch[chosen])
        optimizer.zero_grad()
        loss.backward()
        if settings["clip"] > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            print(f"  step {step}  loss {loss.item():.4f}", flush=True)
    return model.eval()


def score(model, tokenizer, blocks):
    """Mean loss and share of right guesses over the hidden tokens of these blocks, and their count."""
    total, right, count = 0.0, 0, 0
    with torch.no_grad():
        for number, block in enumerate(blocks):
            shown, chosen = roberta_masked(block, number, 0, tokenizer.mask_token_id, len(tokenizer))
            if not chosen:
                continue
            logits = model(torch.tensor([shown])).logits[0, chosen]
            labels = torch.tensor(block)[chosen]
            total += cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(1) == labels).sum().item()
            count += len(chosen)
    return total / count, right / count, count


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--dev", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    perplexities = []
    for folder in arguments.folders:
        settings = json.loads((folder / "pretraining.json").read_text())
        same = {"accumulate": 1, "doc-sentences": False, "whole-words": False, "dropout": 0,
                "precision": "float", "model": "", "recipe": "roberta", "duplicates": 0}
        for name, value in same.items():
            if settings[name] != value:
                raise SystemExit(f"{folder}: {name} is {settings[name]}, not {value}")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        config = transformers.AutoConfig.from_pretrained(
            folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        blocks, held_out = (
            blocks_of(documents_of(path, tokenizer), tokenizer.bos_token_id,
                      tokenizer.eos_token_id, settings["length"], False)
            for path in (arguments.corpus, arguments.dev))
        begin = time.process_time()
        print(f"{folder}: seed {settings['seed']}, {len(blocks)} blocks", flush=True)
        reference = pretrained(config, settings, tokenizer, blocks)
        seconds = time.process_time() - begin
        ours = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
        pair = []
        for who, model in (("here", ours), ("transformers", reference)):
            loss, accuracy, count = score(model, tokenizer, held_out)
            pair.append(math.exp(loss))
            print(f"{folder}: {who}: loss {loss:.4f}, perplexity {pair[-1]:.3f}, {accuracy:.4f} right"
                  f" of {count} tokens", flush=True)
        print(f"{folder}: {seconds:.0f} s of processor time for the reference", flush=True)
        perplexities.append(pair)
    here, there = (sum(column) / len(column) for column in zip(*perplexities))
    print(f"mean of {len(perplexities)}: {here:.3f} here, {there:.3f} in transformers, ratio "
          f"{here / there:.4f}")
    return 0 if here <= 1.01 * there else 1


if __name__ == "__main__":
    raise SystemExit(main())
