#!/usr/bin/env python3
"""Makes tests/fixtures/training/NAME/: a small random model and 20 updates of it by PyTorch in
float64, whose losses the tests must find again.

  python training_fixtures.py --out tests/fixtures/training
  python training_fixtures.py --out tests/fixtures/training --only mlm

Each case is a folder as save_pretrained lays it out, and expected.safetensors: for update U and part
P of its batch (the parts' gradients are added) input_ids.U.P, attention_mask.U.P, labels.U.P (two
rows for question answering: starts, ends); losses and norms of each update, the norm before
clipping; final.NAME of each parameter. How it was trained is in the metadata.
"""

import json
import os
import shutil
import zlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from model_fixtures import SMALL, batch, parser_of, randomize, save
from roberta_fixtures import CHOICE, MLM, QUESTION, SEQUENCE, TOKEN

STEPS = 20
USUAL = dict(
    lr=0.01,
    betas=[0.9, 0.999],
    eps=1e-8,
    weight_decay=0.1,
    schedule="linear",
    warmup=3,
    clip=1.0,
    parts=1,
    optimizer="adamw",
    smoothing=0.0,
    class_weights=[],
    layer_decay=1.0,
    frozen="",
)
CASES = {
    "mlm": (MLM, {}, {}),
    "mlm_parts_cosine": (
        MLM,
        dict(num_hidden_layers=2),
        dict(parts=3, schedule="cosine", clip=0.0, betas=[0.9, 0.98], eps=1e-6, layer_decay=0.7),
    ),
    "mlm_lamb": (MLM, {}, dict(optimizer="lamb", eps=1e-6, schedule="polynomial")),
    "mlm_bert_adam_frozen": (
        MLM,
        {},
        dict(optimizer="bert", eps=1e-6, schedule="constant", frozen="embeddings."),
    ),
    "sequence": (SEQUENCE, dict(num_labels=3), dict(smoothing=0.1, class_weights=[0.5, 1.0, 2.0])),
    "multi_label": (
        SEQUENCE,
        dict(num_labels=3, problem_type="multi_label_classification"),
        {},
    ),
    "regression": (SEQUENCE, dict(num_labels=1), dict(lr=0.003)),
    "token": (TOKEN, dict(num_labels=4), {}),
    "question": (QUESTION, {}, {}),
    "choice": (CHOICE, {}, {}),
}


def decays(name):
    return not name.endswith("bias") and "LayerNorm" not in name and "layer_norm" not in name


def rate_factor(name, layers, decay):
    """Head 1, the last layer decay, ... , the embeddings decay^(layers + 1)."""
    if "embeddings." in name:
        return decay ** (layers + 1)
    if ".layer." in name:
        return decay ** (layers - int(name.split(".layer.")[1].split(".")[0]))
    return 1.0


class Paper:
    """LAMB (arXiv:1904.00962), and BERT's Adam without bias correction, written out."""

    def __init__(self, named, options):
        self.named, self.o, self.t = named, options, 0
        self.m = {n: torch.zeros_like(p) for n, p in named}
        self.v = {n: torch.zeros_like(p) for n, p in named}

    @torch.no_grad()
    def step(self, rate):
        self.t += 1
        b1, b2 = self.o["betas"]
        for name, p in self.named:
            g = p.grad
            m = self.m[name].mul_(b1).add_((1 - b1) * g)
            v = self.v[name].mul_(b2).add_((1 - b2) * g * g)
            if self.o["optimizer"] == "lamb":
                m, v = m / (1 - b1**self.t), v / (1 - b2**self.t)
            u = m / (v.sqrt() + self.o["eps"])
            if decays(name):
                u = u + self.o["weight_decay"] * p
            ratio = 1.0
            if self.o["optimizer"] == "lamb" and decays(name) and p.norm() > 0 and u.norm() > 0:
                ratio = p.norm() / u.norm()
            p -= rate * ratio * u


def factor(options):
    """The schedule's factor of an update, by transformers' own functions."""
    dummy = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    warmup = options["warmup"]
    made = {
        "linear": lambda: transformers.get_linear_schedule_with_warmup(dummy, warmup, STEPS),
        "cosine": lambda: transformers.get_cosine_schedule_with_warmup(dummy, warmup, STEPS),
        "constant": lambda: transformers.get_constant_schedule_with_warmup(dummy, warmup),
        "polynomial": lambda: transformers.get_polynomial_decay_schedule_with_warmup(
            dummy, warmup, STEPS, lr_end=0.1, power=2.0
        ),
    }[options["schedule"]]()
    return lambda step: made.lr_lambdas[0](step)


def labels_of(generator, kind, config, ids, mask):
    rows, length = ids.shape

    def randint(high, shape):
        return torch.randint(0, high, shape, generator=generator)

    if kind is MLM:
        chosen = (torch.rand(ids.shape, generator=generator) < 0.3) & (mask == 1)
        chosen[0, 1] = True
        return torch.where(chosen, ids, torch.full_like(ids, -100))
    if kind is TOKEN:
        chosen = (torch.rand(ids.shape, generator=generator) < 0.8) & (mask == 1)
        chosen[0, 1] = True
        return torch.where(chosen, randint(config.num_labels, ids.shape), -100)
    if kind is QUESTION:
        return randint(length, (2, rows))
    if kind is CHOICE:
        return randint(3, (rows // 3,))
    if config.problem_type == "multi_label_classification":
        return randint(2, (rows, config.num_labels)).double()
    if config.num_labels == 1:
        return torch.randn(rows, generator=generator, dtype=torch.float64)
    return randint(config.num_labels, (rows,))


def loss_of(model, kind, options, ids, mask, labels):
    """Mean loss, and over how many it is the mean."""
    how = dict(label_smoothing=options["smoothing"])
    if options["class_weights"]:
        how["weight"] = torch.tensor(options["class_weights"], dtype=torch.float64)
    if kind is QUESTION:
        return model(
            input_ids=ids, attention_mask=mask, start_positions=labels[0], end_positions=labels[1]
        ).loss, 1
    if kind is CHOICE:
        logits = model(input_ids=ids.view(-1, 3, ids.shape[1]), attention_mask=mask.view(-1, 3, ids.shape[1])).logits
        return cross_entropy(logits, labels, **how), len(labels)
    logits = model(input_ids=ids, attention_mask=mask).logits
    if kind in (MLM, TOKEN):
        return cross_entropy(logits.flatten(0, 1), labels.flatten(), **how), int((labels != -100).sum())
    if labels.is_floating_point():
        if model.config.num_labels == 1:
            return mse_loss(logits.squeeze(-1), labels), len(labels)
        return binary_cross_entropy_with_logits(logits, labels), len(labels)
    return cross_entropy(logits, labels, **how), len(labels)


def make(name, out):
    kind, shape, changes = CASES[name]
    options = USUAL | changes
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    config = transformers.RobertaConfig(
        **(SMALL | shape),
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    model = kind(config).double().train()
    randomize(model, generator)
    folder = out / name
    if folder.exists():
        shutil.rmtree(folder)
    model.save_pretrained(folder)
    named = []
    for parameter_name, p in model.named_parameters():
        p.requires_grad_(not (options["frozen"] and options["frozen"] in parameter_name))
        if p.requires_grad:
            named.append((parameter_name, p))
    rates = [rate_factor(n, config.num_hidden_layers, options["layer_decay"]) for n, _ in named]
    if options["optimizer"] == "adamw":
        groups = [
            {"params": [p], "weight_decay": options["weight_decay"] if decays(n) else 0.0}
            for n, p in named
        ]
        adam = torch.optim.AdamW(groups, lr=1.0, betas=options["betas"], eps=options["eps"])
    else:
        paper = Paper(named, options)
    factor_of = factor(options)
    tensors, losses, norms = {}, [], []
    for update in range(STEPS):
        parts = []
        for part in range(options["parts"]):
            lengths = [9] * 6 if kind is QUESTION else [5, 9, 3, 7, 8, 4]
            ids, mask = batch(generator, config, lengths)
            labels = labels_of(generator, kind, config, ids, mask)
            tensors |= {
                f"input_ids.{update}.{part}": ids.to(torch.int32),
                f"attention_mask.{update}.{part}": mask,
                f"labels.{update}.{part}": labels if labels.is_floating_point() else labels.to(torch.int32),
            }
            parts.append(loss_of(model, kind, options, ids, mask, labels))
        total = sum(count for _, count in parts)
        loss = sum(loss * (count / total) for loss, count in parts)
        model.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            [p for _, p in named], options["clip"] if options["clip"] > 0 else float("inf")
        )
        rate = options["lr"] * factor_of(update)
        if options["optimizer"] == "adamw":
            for group, times in zip(adam.param_groups, rates):
                group["lr"] = rate * times
            adam.step()
        else:
            paper.step(rate)
        losses.append(loss.item())
        norms.append(norm.item())
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    tensors["norms"] = torch.tensor(norms, dtype=torch.float64)
    tensors |= {f"final.{n}": p.detach().clone() for n, p in model.named_parameters()}
    about = {"class": kind.__name__, "options": json.dumps(options)}
    save(tensors, folder / "expected.safetensors", **about)
    print(f"{name}: {losses[0]:.4f} to {losses[-1]:.4f}, norms {max(norms):.3f} to {min(norms):.3f}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--only", choices=CASES)
    args = parser.parse_args()
    for name in [args.only] if args.only else CASES:
        make(name, args.out)


if __name__ == "__main__":
    main()
