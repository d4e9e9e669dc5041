#!/usr/bin/env python3
"""Makes tests/fixtures/nn/*.safetensors: single modules and their float64 results from PyTorch and
transformers. Every parameter is random, biases and norms too, so that none can be left out or
confused. Gradients are those of sum(output * loss_weight).

Run as: python tests/oracle/nn_fixtures.py
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaLayer

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "nn"


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def randomise(module):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(random(*parameter.shape) * 0.5)
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter.add_(1)
    return module.double()


def parameters_of(module, prefix="parameter."):
    return {prefix + name: value.detach().clone() for name, value in module.named_parameters()}


def gradients_of(module):
    return {"gradient." + name: value.grad for name, value in module.named_parameters()}


def backward(output, inputs):
    """Adds the loss's weights and the gradients of the inputs."""
    weight = random(*output.shape)
    (output * weight).sum().backward()
    tensors = {"loss_weight": weight}
    tensors.update({"gradient." + name: value.grad for name, value in inputs.items()})
    return tensors


def save(name, tensors):
    tensors = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    save_file(tensors, FOLDER / f"{name}.safetensors")


def linear():
    layer = randomise(torch.nn.Linear(5, 7))
    x = random(4, 5)
    tensors = {"x": x, "y": layer(x), **parameters_of(layer)}
    tensors["gelu"] = F.gelu(layer(x))
    tensors["gelu_tanh"] = F.gelu(layer(x), approximate="tanh")
    tensors["relu"] = F.relu(layer(x))
    tensors["silu"] = F.silu(layer(x))
    tensors["tanh"] = torch.tanh(layer(x))
    save("linear", tensors)


def layer_norm():
    norm = randomise(torch.nn.LayerNorm(9, eps=1e-5))
    x = random(4, 9) * 3 + 10
    residual = random(4, 9)
    save("layer_norm", {"x": x, "residual": residual, "y": norm(x),
                        "y_of_sum": norm(x + residual), **parameters_of(norm)})


def scaled_dot_product_attention():
    """Two heads of size 3, values of size 5; texts of 4 and 3 tokens; a mask with holes."""
    heads, size, value_size, lengths = 2, 3, 5, (4, 3)
    tokens = sum(lengths)
    q, k = random(tokens, heads * size), random(tokens, heads * size)
    v = random(tokens, heads * value_size)
    mask = torch.tensor([1, 0, 1, 1, 1, 1, 0], dtype=torch.uint8)
    tensors = {"q": q, "k": k, "v": v, "mask": mask}

    def attend(causal, masked, scale=None):
        out, begin = [], 0
        for length in lengths:
            def split(x, width):
                return x[begin:begin + length].view(length, heads, width).transpose(0, 1)
            seen = torch.ones(length, length, dtype=torch.bool)
            if causal:
                seen = seen.tril()
            if masked:
                seen = seen & (mask[begin:begin + length] != 0)
            y = F.scaled_dot_product_attention(split(q, size), split(k, size), split(v, value_size),
                                               attn_mask=seen, scale=scale)
            out.append(y.transpose(0, 1).reshape(length, heads * value_size))
            begin += length
        return torch.cat(out)

    tensors["y"] = attend(False, False)
    tensors["y_masked"] = attend(False, True)
    tensors["y_causal"] = attend(True, False)
    tensors["y_causal_masked"] = attend(True, True)
    tensors["y_scaled"] = attend(False, False, scale=0.2)
    save("scaled_dot_product_attention", tensors)


def multi_head_attention():
    """torch's layer under our names; batches as lists of texts, so that nothing is padded."""
    hidden, heads, lengths, memory_lengths = 6, 3, (4, 1, 2), (3, 5, 1)
    layer = randomise(torch.nn.MultiheadAttention(hidden, heads, batch_first=True))
    mask = torch.tensor([1, 1, 0, 1, 1, 0, 1], dtype=torch.uint8)

    def run(x, memory, x_lengths, y_lengths, causal=False, masked=False):
        outputs, probabilities = [], []
        texts = zip(x.split(x_lengths), memory.split(y_lengths), mask.split(lengths))
        for text, other, keep in texts:
            hidden_pairs = torch.zeros(len(text), len(other), dtype=torch.bool)
            if causal:
                hidden_pairs |= torch.ones_like(hidden_pairs).triu(1)
            if masked:
                hidden_pairs = hidden_pairs | (keep == 0)
            y, p = layer(text[None], other[None], other[None], attn_mask=hidden_pairs,
                         average_attn_weights=False)
            outputs.append(y[0])
            probabilities.append(p[0].flatten())
        return torch.cat(outputs), torch.cat(probabilities)

    def renamed(tensors, what):
        weight, bias = tensors["in_proj_weight"], tensors["in_proj_bias"]
        named = {f"{what}.output.weight": tensors["out_proj.weight"],
                 f"{what}.output.bias": tensors["out_proj.bias"]}
        for i, part in enumerate(("query", "key", "value")):
            named[f"{what}.{part}.weight"] = weight[i * hidden:(i + 1) * hidden]
            named[f"{what}.{part}.bias"] = bias[i * hidden:(i + 1) * hidden]
        return named

    x, memory = random(sum(lengths), hidden), random(sum(memory_lengths), hidden)
    base = {"x": x, "memory": memory, "mask": mask,
            **renamed(dict(layer.named_parameters()), "parameter")}
    cases = {"self": {}, "masked": {"masked": True}, "causal": {"causal": True}, "cross": {}}
    for name, options in cases.items():
        layer.zero_grad()
        inputs = {"x": x.clone().requires_grad_(), "memory": memory.clone().requires_grad_()}
        if name == "cross":
            y, p = run(inputs["x"], inputs["memory"], lengths, memory_lengths)
        else:
            del inputs["memory"]
            y, p = run(inputs["x"], inputs["x"], lengths, lengths, **options)
        case = {"y": y, "probabilities": p, **backward(y, inputs)}
        gradients = {key: value.grad for key, value in layer.named_parameters()}
        case.update(renamed(gradients, "gradient"))
        base.update({f"{name}.{key}": value for key, value in case.items()})
    save("multi_head_attention", base)


def encoder_layer():
    """RobertaLayer under HF's own names, with one text at a time and an additive mask."""
    lengths = (5, 1, 3)
    config = RobertaConfig(hidden_size=8, num_attention_heads=2, intermediate_size=12,
                           vocab_size=10, hidden_dropout_prob=0.1, hidden_act="gelu",
                           attention_probs_dropout_prob=0.1, layer_norm_eps=1e-5)
    config._attn_implementation = "eager"
    layer = randomise(RobertaLayer(config)).eval()
    mask = torch.tensor([1, 0, 1, 1, 1, 1, 1, 1, 0], dtype=torch.uint8)
    x = random(sum(lengths), 8)
    base = {"x": x, "mask": mask, **parameters_of(layer)}
    for name, masked in (("plain", False), ("masked", True)):
        layer.zero_grad()
        inputs = {"x": x.clone().requires_grad_()}
        outputs = []
        for text, keep in zip(inputs["x"].split(lengths), mask.split(lengths)):
            additive = (1 - keep.double())[None, None, None, :] * torch.finfo(torch.float64).min
            y = layer(text[None], attention_mask=additive if masked else None)
            outputs.append((y[0] if isinstance(y, tuple) else y).reshape(len(text), 8))
        y = torch.cat(outputs)
        case = {"y": y, **backward(y, inputs), **gradients_of(layer)}
        base.update({f"{name}.{key}": value for key, value in case.items()})
    save("encoder_layer", base)


if __name__ == "__main__":
    torch.manual_seed(20240229)
    FOLDER.mkdir(parents=True, exist_ok=True)
    linear()
    layer_norm()
    scaled_dot_product_attention()
    multi_head_attention()
    encoder_layer()
