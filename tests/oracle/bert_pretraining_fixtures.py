#!/usr/bin/env python3
"""Makes tests/fixtures/bert_pretraining/: BERT's pairs of segments with their masks, and updates of a
small random BertForPreTraining by PyTorch in float64.

  python bert_pretraining_fixtures.py --out tests/fixtures/bert_pretraining

pairs.json: documents as lists of sentences of tokens, and for some lengths, seeds and copies their
pairs (ids, how many tokens are of the first type, whether the second segment is random) as they are
shown, with the masked positions. Its tokens are 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], 4 [MASK], and
words of which every third begins one.

model/: config.json, model.safetensors, vocab.txt, text.txt of words of that vocabulary, and
expected.safetensors: losses and norms (before clipping) of each update by the recipe in the metadata,
and final.NAME of each parameter. Pairs, masks and order are made anew here.
"""

import json
import os
import random
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

from model_fixtures import SMALL, parser_of, randomize, readable, save
from pretraining_law import bert_masked, derived_seed, segment_pairs, shuffled
from training_fixtures import Paper

CLS, SEP, MASK, WORDS = 2, 3, 4, 5
VOCAB = 41
RECIPE = dict(steps=5, length=16, batch=8, duplicates=2, seed=11, lr=0.01, clip=1.0)


def text_of(rng, documents, sentences, words):
    return [
        [
            [rng.randrange(WORDS, VOCAB) for _ in range(rng.randint(1, words))]
            for _ in range(rng.randint(1, sentences))
        ]
        for _ in range(documents)
    ]


def make_pairs(out):
    rng = random.Random(3)
    documents = text_of(rng, 4, 9, 8)
    documents[1].append([rng.randrange(WORDS, VOCAB) for _ in range(30)])  # longer than a block
    starts = [id < WORDS or id % 3 == 0 for id in range(VOCAB)]
    cases = []
    for length, seed, copy in ((5, 1, 0), (8, 2, 3), (16, 3, 1), (24, 2**40 + 1, 7), (128, 5, 0)):
        pairs = []
        for number, (ids, types, is_random) in enumerate(
            segment_pairs(documents, CLS, SEP, length, seed, copy)
        ):
            stream = copy << 40 | number
            masks = [
                bert_masked(ids, stream, seed, MASK, VOCAB, {CLS, SEP}, words)
                for words in (None, starts)
            ]
            pairs.append([ids, types.count(0), is_random, *masks[0], *masks[1]])
        cases.append(dict(length=length, seed=seed, copy=copy, pairs=pairs))
    (out / "pairs.json").write_text(
        json.dumps(dict(documents=documents, cases=cases), separators=(",", ":")) + "\n"
    )
    print(sum(len(case["pairs"]) for case in cases), "pairs")


def batches(documents):
    """The updates' blocks: tokens as they are shown, types, masked positions, labels, of elsewhere."""
    seed, blocks, epoch = RECIPE["seed"], [], 0
    while len(blocks) < RECIPE["steps"] * RECIPE["batch"]:
        copy = epoch % RECIPE["duplicates"]
        pairs = segment_pairs(documents, CLS, SEP, RECIPE["length"], derived_seed(seed, 3), copy)
        for number in shuffled(len(pairs), derived_seed(seed, 2), epoch):
            ids, types, is_random = pairs[number]
            stream = copy << 40 | number
            shown, chosen = bert_masked(ids, stream, derived_seed(seed, 0), MASK, VOCAB, {CLS, SEP})
            blocks.append((shown, types, chosen, ids, is_random))
        epoch += 1
    assert epoch > RECIPE["duplicates"]  # the first copy comes again
    for step in range(RECIPE["steps"]):
        yield blocks[step * RECIPE["batch"] : (step + 1) * RECIPE["batch"]]


def padded(rows, value):
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=value
    )


def make_model(out):
    folder = out / "model"
    generator = torch.Generator().manual_seed(4)
    config = transformers.BertConfig(
        **(SMALL | dict(type_vocab_size=2)),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    model = transformers.BertForPreTraining(config).double().train()
    randomize(model, generator)
    model.save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"w{id}" for id in range(WORDS, VOCAB)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    documents = text_of(random.Random(5), 6, 7, 7)
    lines = ["\n".join(" ".join(words[id] for id in s) for s in d) for d in documents]
    (folder / "text.txt").write_text("\n\n".join(lines) + "\n")
    named = list(model.named_parameters())
    options = dict(optimizer="bert", betas=[0.9, 0.999], eps=1e-6, weight_decay=0.01)
    adam = Paper(named, options)
    losses, norms = [], []
    for blocks in batches(documents):
        shown, types, chosen, ids, is_random = zip(*blocks)
        labels = padded(ids, -100)
        guessed = torch.zeros_like(labels, dtype=torch.bool)
        for row, positions in enumerate(chosen):
            guessed[row, positions] = True
        loss = model(
            input_ids=padded(shown, 0),
            token_type_ids=padded(types, 0),
            attention_mask=padded([[1] * len(row) for row in ids], 0),
            labels=labels.masked_fill(~guessed, -100),
            next_sentence_label=torch.tensor(is_random),
        ).loss
        model.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE["clip"]).item())
        adam.step(RECIPE["lr"])
        losses.append(loss.item())
    tensors = dict(
        losses=torch.tensor(losses, dtype=torch.float64),
        norms=torch.tensor(norms, dtype=torch.float64),
    )
    tensors |= {f"final.{name}": p.detach().clone() for name, p in named}
    save(tensors, folder / "expected.safetensors", recipe=json.dumps(RECIPE))
    print("losses", *losses, "norms", *norms)


def main():
    out = parser_of(__doc__).parse_args().out
    if out.exists():
        shutil.rmtree(out)
    (out / "model").mkdir(parents=True)
    make_pairs(out)
    make_model(out)
    readable(out)


if __name__ == "__main__":
    main()
