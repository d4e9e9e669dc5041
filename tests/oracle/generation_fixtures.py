#!/usr/bin/env python3
"""Makes the fixture of generation: a small random GPT-2 with a tokenizer, and what transformers
generates with it.

  python generation_fixtures.py --out tests/fixtures/generation

expected.safetensors has, in float64 and with eager attention,
  prompt.I, greedy.I and penalized.I: a prompt, and the text of it and 200 more tokens, greedily,
    without and with a repetition penalty of 1.3;
  logits, ids, and what the processors make of the logits: penalized (1.7), top_k (7), top_p (0.8)
    and all, which is penalty 1.7, temperature 0.7, top_k 20 and top_p 0.9 in this order.
text.json has texts with their ids, and the text that ids are decoded to.
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from transformers.generation import logits_process

NEW = 200
SEED = 8  # one whose choices are all clear, see continued()
TEXT = """In the beginning God created the heaven and the earth. And the earth was without form,
and void; and darkness was upon the face of the deep. Später fiel Schnee — 雪 — auf die Erde. 🙂
And God said, Let there be light: and there was light. And God saw the light, that it was good."""
PROMPTS = ["And God said", "the light", "雪🙂", " x"]


def make_tokenizer(folder):
    """Byte-level BPE as GPT-2's, of 256 bytes, some merges and <|endoftext|>."""
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(
        [TEXT], vocab_size=300, min_frequency=2, special_tokens=[], show_progress=False
    )
    trained.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    made = transformers.GPT2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    assert made.convert_tokens_to_ids("<|endoftext|>") == len(vocabulary) - 1
    made.save_pretrained(folder)
    return made


def make_model(folder, tokenizer):
    generator = torch.Generator().manual_seed(SEED)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=220,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if ".ln_" in name:
                p.copy_(1 + 0.3 * noise if name.endswith("weight") else 0.3 * noise)
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            else:
                p.copy_(noise * 2 / p.shape[0] ** 0.5 if "c_" in name else noise)
    model.save_pretrained(folder)
    return transformers.GPT2LMHeadModel.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager"
    ).eval()


def continued(model, ids, **options):
    """All of the text, after a check that it varies and that no choice is close."""
    result = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
        do_sample=False,
        max_new_tokens=NEW,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    text = result.sequences[0]
    assert len(text) == len(ids) + NEW
    assert len(set(text[len(ids) :].tolist())) > 20, len(set(text.tolist()))
    best = torch.stack([scores[0].topk(2).values for scores in result.scores])
    assert (best[:, 0] - best[:, 1]).min() > 1e-4
    return text


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    transformers.utils.logging.set_verbosity_error()
    tokenizer = make_tokenizer(out)
    model = make_model(out, tokenizer)
    model.generation_config.eos_token_id = None
    expected = {}
    for i, prompt in enumerate(PROMPTS):
        ids = tokenizer(prompt)["input_ids"]
        expected[f"prompt.{i}"] = torch.tensor(ids)
        expected[f"greedy.{i}"] = continued(model, ids)
        expected[f"penalized.{i}"] = continued(model, ids, repetition_penalty=1.3)

    generator = torch.Generator().manual_seed(6)
    logits = 3 * torch.randn(8, 60, generator=generator, dtype=torch.float64)
    logits[0, 10:20] = logits[0].amax() + 1  # ties at the top
    logits[1] -= 20  # all negative
    logits[2, 5] = 40  # all of the probability
    ids = torch.randint(0, 60, (8, 15), generator=generator)
    ids[3] = ids[3, 0]
    penalty = logits_process.RepetitionPenaltyLogitsProcessor(1.7)
    expected |= {"logits": logits, "ids": ids, "penalized": penalty(ids, logits)}
    expected["top_k"] = logits_process.TopKLogitsWarper(7)(ids, logits)
    expected["top_p"] = logits_process.TopPLogitsWarper(0.8)(ids, logits[1:])  # ties go any way
    after = expected["penalized"]
    for warper in (
        logits_process.TemperatureLogitsWarper(0.7),
        logits_process.TopKLogitsWarper(20),
        logits_process.TopPLogitsWarper(0.9),
    ):
        after = warper(ids, after)
    expected["all"] = after[1:]
    save_file({k: v.contiguous() for k, v in expected.items()}, out / "expected.safetensors")

    texts = [*TEXT.split("\n"), *PROMPTS, "", " ", "a<|endoftext|>b", "'s  'T\t\n\nx", "é\u0000"]
    greedy = [expected[f"greedy.{i}"].tolist() for i in range(len(PROMPTS))]
    about = {
        "texts": [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in texts],
        "decoded": [
            {"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)} for ids in greedy
        ],
    }
    (out / "text.json").write_text(json.dumps(about, ensure_ascii=False) + "\n")
    for path in out.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    main()
