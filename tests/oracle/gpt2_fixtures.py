#!/usr/bin/env python3
"""Makes the fixtures of GPT-2, as roberta_fixtures.py makes those of RoBERTa.

  python gpt2_fixtures.py --out tests/fixtures/models/gpt2
  python gpt2_fixtures.py --out FOLDER/gpt2 --random 150 [--seed 1]   # as many random models; then
      EIGENFORMER_MODEL_FIXTURES=FOLDER models_tests --gtest_filter='*Gpt2Parity*'

expected.safetensors has input_ids, attention_mask where one is given, hidden_states.0 to .L (the
last after the last norm), attentions.0 to .L-1, and of the language model logits, labels, the loss
and gradients.NAME of every parameter, as PyTorch has them: Conv1D's [in, out].
"""

import json
import shutil
import tempfile
import zlib

import torch
import transformers
from safetensors.torch import load_file, save_file

import model_fixtures
from model_fixtures import batch, causal_holes, load, rename

BASE = transformers.GPT2Model
LM = transformers.GPT2LMHeadModel
CLASSES = [BASE, LM]
SMALL = dict(
    vocab_size=23,
    n_embd=8,
    n_layer=2,
    n_head=2,
    n_positions=12,
    bos_token_id=0,
    eos_token_id=2,
    pad_token_id=1,  # of the batches
)
WORDS = "transformer.wte.weight"


def randomize(model, generator):
    """Scales that keep activations near 1 and make attention far from uniform."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if ".ln_" in name or name.startswith("ln_"):
                p.copy_(1 + 0.3 * noise if name.endswith("weight") else 0.3 * noise)
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            elif "wte" in name or "wpe" in name:
                p.copy_(noise)
            elif "c_attn" in name:
                p.copy_(noise * (2 / p.shape[0]) ** 0.5)
            else:
                p.copy_(noise / p.shape[0 if "c_" in name else 1] ** 0.5)


def published(tensors, generator):
    """gpt2 as it was published: without prefix, with the buffers of masks, without a head."""
    out = rename(tensors, lambda n: n.removeprefix("transformer."))
    out["h.0.attn.bias"] = torch.tril(torch.ones(12, 12))[None, None]
    out["h.1.attn.masked_bias"] = torch.tensor(-1e4)
    return out


def untie(tensors, generator):
    """A head in the file that differs from the word embeddings, while the config says tied."""
    noise = torch.randn(tensors[WORDS].shape, generator=generator)
    return {**tensors, "lm_head.weight": tensors[WORDS] + noise}


def with_head(tensors, generator):
    """A head in the file that equals the word embeddings."""
    return {**tensors, "lm_head.weight": tensors[WORDS].clone()}


def general_names(values):
    """transformers takes them as well."""
    for key, general in transformers.GPT2Config.attribute_map.items():
        values[key] = values.pop(general)


# name: class, what differs from SMALL, lengths or a function of (generator, config), and options
# as in model_fixtures.make; and
#   values(values): changes config.json; truth: values with which transformers computes instead
CASES = {
    "base": (BASE, dict(), [6, 3, 1], {}),
    "base_with_prefix": (
        BASE,
        dict(n_layer=1, n_head=1),
        [4, 2],
        dict(change=lambda t, g: rename(t, lambda n: "transformer." + n)),
    ),
    "full_length": (
        BASE,
        dict(n_embd=6, n_head=6, n_positions=12),
        lambda g, c: (torch.randint(0, c.vocab_size, (2, 12), generator=g), None),
        {},
    ),
    "lm": (LM, dict(n_layer=3), [6, 4, 2], {}),
    "lm_one_head": (LM, dict(n_head=1, n_embd=7, n_inner=10), [3, 5], {}),
    "lm_published": (LM, dict(), [5, 6], dict(change=published)),
    "lm_untied": (LM, dict(tie_word_embeddings=False), [4, 2], dict(shard="6KB")),
    "lm_tied_but_different": (LM, dict(n_layer=1), [4, 3], dict(change=untie)),
    "lm_with_head": (LM, dict(n_layer=1), [4, 3], dict(change=with_head)),
    "lm_by_layer": (LM, dict(n_layer=3, scale_attn_by_inverse_layer_idx=True), [6, 1, 5], {}),
    "lm_unscaled_relu": (
        LM,
        dict(scale_attn_weights=False, activation_function="relu", layer_norm_epsilon=1e-3),
        [5, 4],
        {},
    ),
    "lm_upcast": (
        LM,
        dict(reorder_and_upcast_attn=True),
        [5, 4],
        dict(truth=dict(reorder_and_upcast_attn=False)),  # which is in float only
    ),
    "lm_holes_silu": (LM, dict(activation_function="silu", n_inner=17), causal_holes, {}),
    "lm_left": (LM, dict(), [5, 2, 3], dict(side="left", loss=False)),
    "lm_class_defaults": (
        LM,
        dict(n_head=12, n_embd=12, n_inner=None, n_layer=1),
        [3, 4],
        dict(
            drop=(
                "n_head",
                "n_inner",
                "activation_function",
                "layer_norm_epsilon",
                "scale_attn_weights",
                "scale_attn_by_inverse_layer_idx",
                "reorder_and_upcast_attn",
                "tie_word_embeddings",
                "add_cross_attention",
            )
        ),
    ),
    "lm_general_names": (LM, dict(n_layer=1), [4], dict(values=general_names)),
    "lm_f16": (LM, dict(n_layer=1), [5, 3], dict(dtype=torch.float16)),
    "lm_bf16": (LM, dict(n_layer=1), [3, 5], dict(dtype=torch.bfloat16)),
    "lm_f64": (LM, dict(n_layer=1, tie_word_embeddings=False), [2, 5], dict(dtype=torch.float64)),
    "lm_no_layers": (LM, dict(n_layer=0), [3, 2], {}),
}


def random_case(draw, classes):
    """A model of random sizes and kinds, with texts of random lengths."""
    heads = draw.randint(1, 5)
    different = dict(
        vocab_size=draw.randint(8, 60),
        n_head=heads,
        n_embd=heads * draw.randint(3, 9),  # fewer make norms ill-conditioned
        n_layer=draw.randint(0, 4),
        n_inner=draw.choice([None, draw.randint(1, 40)]),
        layer_norm_epsilon=draw.choice([1e-12, 1e-5, 1e-3]),
        activation_function=draw.choice(["gelu", "gelu_new", "relu", "silu", "tanh"]),
        tie_word_embeddings=draw.random() < 0.6,
        scale_attn_weights=draw.random() < 0.7,
        scale_attn_by_inverse_layer_idx=draw.random() < 0.5,
    )
    options = dict(any_attention=True)
    if draw.random() < 0.3:
        options["dtype"] = draw.choice([torch.float16, torch.bfloat16, torch.float64])
    if draw.random() < 0.2:
        options["shard"] = "2KB"
    lengths = [draw.randint(1, 9) for _ in range(draw.randint(1, 5))]
    return draw.choice(classes), different, [max(2, lengths[0]), *lengths[1:]], options


def loss_and_gradients(model, given, labels):
    logits = model(**given).logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    )
    stated = model(**given, labels=labels).loss  # of logits rounded to float
    assert abs(loss.item() - stated.item()) < 1e-5
    loss.backward()
    result = {"loss": loss.detach()}
    for name, parameter in model.named_parameters():
        result[f"gradients.{name}"] = parameter.grad
    return result


def make(name, case, out):
    cls, different, inputs, options = case
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    config = cls.config_class(**{**SMALL, **different})
    model = cls(config).double()
    randomize(model, generator)
    model.to(options.get("dtype", torch.float32))
    out.mkdir(parents=True)
    model.save_pretrained(
        out, **({"max_shard_size": options["shard"]} if "shard" in options else {})
    )
    (out / "generation_config.json").unlink(missing_ok=True)
    if "change" in options:
        weights = out / "model.safetensors"
        tensors = options["change"](load_file(weights), generator)
        save_file(
            {k: v.contiguous() for k, v in tensors.items()}, weights, metadata={"format": "pt"}
        )
    path = out / "config.json"
    values = json.loads(path.read_text())
    for key in options.get("drop", ()):
        values.pop(key, None)
    options.get("values", lambda values: None)(values)
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")

    truth = tempfile.mkdtemp()
    shutil.copytree(out, truth, dirs_exist_ok=True)
    if "truth" in options:
        with open(f"{truth}/config.json", "w") as file:
            json.dump(values | options["truth"], file)
    model, missing, unexpected = load(cls, truth)
    shutil.rmtree(truth)
    unexpected = [key for key in unexpected if not key.endswith("masked_bias")]  # old ones had it
    assert not missing and not unexpected, (name, missing, unexpected)
    made = (
        inputs(generator, config)
        if callable(inputs)
        else batch(generator, config, inputs, options.get("side", "right"))
    )
    ids, mask = made
    given = {"input_ids": ids, "attention_mask": mask}
    expected = {key: value for key, value in given.items() if value is not None}
    with torch.no_grad():
        result = model(**given, output_hidden_states=True, output_attentions=True)
    assert len(result.hidden_states) == config.n_layer + 1, name
    expected |= {f"hidden_states.{i}": state for i, state in enumerate(result.hidden_states)}
    expected |= {f"attentions.{i}": weights for i, weights in enumerate(result.attentions)}
    if cls is LM:
        expected["logits"] = result.logits
        if options.get("loss", True):
            labels = ids.clone()
            labels[torch.rand(ids.shape, generator=generator) < 0.2] = -100
            labels[0, 1] = 3
            if mask is not None:
                labels[mask == 0] = -100
            expected |= {"labels": labels} | loss_and_gradients(model, given, labels)
    if config.n_layer > 0 and "any_attention" not in options:
        peak = max(float(a[..., 2:, :].amax()) for a in result.attentions)
        assert peak > 0.6, (name, "attention is nearly uniform", peak)
    for key, value in expected.items():
        assert not value.is_floating_point() or bool(torch.isfinite(value).all()), (name, key)
    save_file(
        {k: v.contiguous() for k, v in expected.items()},
        out / "expected.safetensors",
        metadata={"class": cls.__name__},
    )
    for path in out.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    raise SystemExit(model_fixtures.main(__doc__, CASES, CLASSES, make, random_case))
