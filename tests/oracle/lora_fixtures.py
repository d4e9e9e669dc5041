#!/usr/bin/env python3
"""Makes tests/fixtures/lora/NAME/: a small random model with LoRA adapters by PEFT, and updates of
them by PyTorch in float64, whose numbers the tests must find again.

  python lora_fixtures.py --out tests/fixtures/lora
  python lora_fixtures.py --check FOLDER --base tests/fixtures/lora/NAME  # an adapter saved by us

Each case is a folder as save_pretrained lays it out; adapter/ inside it as PEFT does; and
expected.safetensors: input_ids, attention_mask, labels, logits, loss; gradients.NAME and, after
STEPS updates by AdamW on that same batch, final.NAME of all that is trained, under PEFT's names in
files; final_logits; losses of the updates. --check loads the adapter with PEFT and compares its
logits with FOLDER/logits.safetensors.
"""

import os
import pathlib
import shutil
import zlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import peft
import torch
import transformers
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from model_fixtures import SMALL, batch, parser_of, randomize, save, truth
from roberta_fixtures import MLM, SEQUENCE

STEPS = 5
CASES = {
    # name: class, LoraConfig's arguments
    "sequence": (
        SEQUENCE,
        dict(r=3, lora_alpha=7, target_modules=["query", "value"], modules_to_save=["classifier"]),
    ),
    "mlm_all_linear": (
        MLM,
        dict(r=2, lora_alpha=2, target_modules=["query", "key", "value", "dense"]),
    ),
}


def base_of(folder, kind):
    return truth(kind, folder).train()  # dropout is 0


def loss_of(model, tensors):
    """Cross entropy of each text's label, or of all tokens for a masked language model."""
    ids, mask, labels = (tensors[n].long() for n in ("input_ids", "attention_mask", "labels"))
    logits = model(input_ids=ids, attention_mask=mask).logits
    return logits, cross_entropy(logits.flatten(0, -2), labels.flatten())


def trained(model):
    """Name in files and parameter of all that is trained."""
    for name, p in model.named_parameters():
        if p.requires_grad:
            yield name.replace(".default", "").replace(".modules_to_save", ""), p


def make(name, out):
    kind, arguments = CASES[name]
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    config = transformers.RobertaConfig(
        **(SMALL | dict(num_hidden_layers=2, num_labels=3)),
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    base = kind(config).double()
    randomize(base, generator)
    folder = out / name
    if folder.exists():
        shutil.rmtree(folder)
    base.save_pretrained(folder)
    model = peft.get_peft_model(base_of(folder, kind), peft.LoraConfig(**arguments))
    with torch.no_grad():  # lora_B begins as zeros, of which nothing can be seen
        for _, p in trained(model):
            if p.dim() == 2:
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.3)
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)

    ids, mask = batch(generator, config, [5, 9, 3, 7])
    tensors = {"input_ids": ids.to(torch.int32), "attention_mask": mask}
    shape, high = ((4,), 3) if kind is SEQUENCE else (ids.shape, config.vocab_size)
    labels = torch.randint(0, high, shape, generator=generator)
    if kind is MLM:
        labels = torch.where(mask == 1, labels, torch.full_like(labels, -100))
    tensors["labels"] = labels.to(torch.int32)

    def decays(parameter_name):
        return not parameter_name.endswith("bias") and "LayerNorm" not in parameter_name

    adam = torch.optim.AdamW(
        [{"params": [p], "weight_decay": 0.1 if decays(n) else 0.0} for n, p in trained(model)],
        lr=0.01,
    )
    losses = []
    for step in range(STEPS):
        logits, loss = loss_of(model, tensors)
        model.zero_grad()
        loss.backward()
        if step == 0:
            tensors["logits"], tensors["loss"] = logits.detach(), loss.detach()
            tensors |= {f"gradients.{n}": p.grad.clone() for n, p in trained(model)}
        adam.step()
        losses.append(loss.item())
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    tensors["final_logits"] = loss_of(model, tensors)[0].detach()
    tensors |= {f"final.{n}": p.detach().clone() for n, p in trained(model)}
    save(tensors, folder / "expected.safetensors")
    print(f"{name}: {losses[0]:.4f} to {losses[-1]:.4f}, {sum(1 for _ in trained(model))} trained")


def check(folder, base):
    kind = CASES[base.name][0]
    model = peft.PeftModel.from_pretrained(base_of(base, kind), folder)
    expected = load_file(base / "expected.safetensors")
    with torch.no_grad():
        logits, _ = loss_of(model, expected)
    ours = load_file(folder / "logits.safetensors")["logits"]
    kept = expected["attention_mask"] == 1
    logits = logits if kind is SEQUENCE else logits[kept]
    worst = (logits - ours).abs().max().item()
    print(f"{folder}: PEFT's logits differ from ours by {worst:.2e}")
    assert worst < 1e-12


def main():
    parser = parser_of(__doc__, required=False)
    parser.add_argument("--check", type=pathlib.Path)
    parser.add_argument("--base", type=pathlib.Path)
    args = parser.parse_args()
    if args.check:
        check(args.check, args.base)
    else:
        for name in CASES:
            make(name, args.out)


if __name__ == "__main__":
    main()
