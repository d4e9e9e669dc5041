#!/usr/bin/env python3
"""Makes the fixture of training GPT-2: updates of tests/fixtures/models/gpt2/lm by PyTorch in
float64, with AdamW, clipping, and no decay of biases and norms, as transformers' Trainer has it.

  python gpt2_training_fixtures.py --model tests/fixtures/models/gpt2/lm \\
      --out tests/fixtures/gpt2_training

expected.safetensors has the texts of each update, input_ids.N and attention_mask.N, its loss.N, and
parameters.NAME in the end.
"""

import argparse
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import save_file
from transformers.trainer_pt_utils import get_parameter_names

STEPS, RATE, DECAY, CLIP = 8, 1e-2, 0.1, 1.0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    model = transformers.GPT2LMHeadModel.from_pretrained(
        arguments.model, dtype=torch.float64, attn_implementation="eager"
    ).eval()  # nothing is dropped
    decayed = {
        name
        for name in get_parameter_names(model, [torch.nn.LayerNorm])
        if not name.endswith("bias")
    }
    groups = [
        dict(
            params=[p for name, p in model.named_parameters() if (name in decayed) == decays],
            weight_decay=DECAY if decays else 0,
        )
        for decays in (True, False)
    ]
    assert all(group["params"] for group in groups)
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    generator = torch.Generator().manual_seed(3)
    expected = {}
    for step in range(STEPS):
        lengths = torch.randint(2, 13, (3,), generator=generator)
        ids = torch.randint(0, 23, (3, int(lengths.max())), generator=generator)
        mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
        labels = ids.masked_fill(~mask, -100)
        logits = model(input_ids=ids, attention_mask=mask.long()).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        expected |= {
            f"input_ids.{step}": ids,
            f"attention_mask.{step}": mask.to(torch.uint8),
            f"loss.{step}": loss.detach(),
        }
    expected |= {f"parameters.{name}": p.detach() for name, p in model.named_parameters()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out / "expected.safetensors"
    save_file({k: v.contiguous() for k, v in expected.items()}, out)
    out.chmod(0o644)


if __name__ == "__main__":
    main()
