"""What the scripts that make fixtures of models share: random weights, batches, the truth, files.

Every parameter is random, biases and the padding rows too: a bias that a model forgets would stay
hidden at zero. Truth is the float64 model with eager attention, loaded from the values in the file.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import tempfile
import zlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

SMALL = dict(
    vocab_size=41,
    hidden_size=12,
    num_hidden_layers=1,
    num_attention_heads=3,
    intermediate_size=17,
    max_position_embeddings=16,
    type_vocab_size=1,
    layer_norm_eps=1e-5,
)
ATTENTION = (".self.", "_lin.", "attention.query", "attention.key", "attention.value")
HEAD = dict(vocab_size=23, hidden_size=8, num_attention_heads=2, intermediate_size=11)


def parser_of(about, required=True):
    """The arguments of a script: --out, the folder that it writes."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, required=required)
    return parser


def truth(cls, folder, **options):
    """The model in a folder, without dropout; and what `options` ask from_pretrained for."""
    options |= {"dtype": torch.float64, "attn_implementation": "eager"}
    return cls.from_pretrained(folder, **options)


def save(tensors, path, **metadata):
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata=metadata or None)


def readable(folder):
    """Lets everyone read the files, whatever wrote them."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def randomize(model, generator):
    """Scales that keep activations near 1 and make attention far from uniform."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if name.endswith(("LayerNorm.weight", "layer_norm.weight")):
                p.copy_(1 + 0.3 * noise)
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            elif "embeddings" in name:
                p.copy_(noise)
            elif any(part in name for part in ATTENTION):
                p.copy_(noise * (2 / p.shape[1]) ** 0.5)
            else:
                p.copy_(noise / p.shape[1] ** 0.5)


def text(generator, config, length):
    """<s> random </s>, no padding id in between."""
    body = torch.randint(4, config.vocab_size, (max(length - 2, 0),), generator=generator).tolist()
    return ([0] + body + [2])[:length]


def batch(generator, config, lengths, side="right"):
    """Padded ids and mask of texts of the given lengths."""
    longest = max(lengths)
    ids, mask = [], []
    for n in lengths:
        fill = [config.pad_token_id] * (longest - n)
        ids.append(
            text(generator, config, n) + fill
            if side == "right"
            else fill + text(generator, config, n)
        )
        ones, zeros = [1] * n, [0] * (longest - n)
        mask.append(ones + zeros if side == "right" else zeros + ones)
    return torch.tensor(ids), torch.tensor(mask, dtype=torch.uint8)


def rename(tensors, how):
    return {how(name): tensor for name, tensor in tensors.items()}


def gamma_beta(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    )


def holes(g, c):
    ids, mask = batch(g, c, [5, 5, 4])
    mask[0, 2] = mask[1, 0] = mask[1, 3] = 0
    return ids, mask


def causal_holes(g, c):
    """Every token sees one."""
    ids, mask = batch(g, c, [5, 5, 4])
    mask[0, 2] = mask[1, 1] = mask[1, 3] = 0
    return ids, mask


def masked_row(g, c):
    ids, mask = batch(g, c, [6, 4, 5])
    mask[1] = 0
    return ids, mask


def pads_inside(g, c):
    ids, mask = batch(g, c, [7, 7])
    ids[0, 2] = ids[0, 4] = ids[1, 0] = c.pad_token_id
    mask[0, 2] = 0  # one pad is masked, the others are attended to
    return ids, mask


def pads_without_mask(g, c):
    return batch(g, c, [6, 3])[0], None


def types(lengths):
    def make(g, c):
        ids, mask = batch(g, c, lengths)
        return ids, mask, torch.randint(0, c.type_vocab_size, ids.shape, generator=g)

    return make


def head_of(cls):
    """What the class is for, such as "MaskedLM"; nothing for an encoder."""
    return "CausalLM" if cls.__name__ == "BertLMHeadModel" else cls.__name__.partition("For")[2]


def labels_for(cls, config, generator, ids, mask, choices):
    """Labels of every kind, some of which do not count."""
    rows, length = ids.shape

    def drawn(low, high, shape):
        return torch.randint(low, high, shape, generator=generator)

    if cls.__name__.endswith("SequenceClassification"):
        if config.problem_type == "multi_label_classification":
            return {"labels": drawn(0, 2, (rows, config.num_labels)).double()}
        if config.problem_type == "regression" or config.num_labels == 1:
            shape = (rows,) if config.num_labels == 1 else (rows, config.num_labels)
            return {"labels": torch.randn(shape, generator=generator, dtype=torch.float64)}
        return {"labels": drawn(0, config.num_labels, (rows,))}
    if head_of(cls) == "NextSentencePrediction":
        return {"labels": drawn(0, 2, (rows,))}
    if head_of(cls) == "MultipleChoice":
        return {"labels": drawn(0, choices, (rows // choices,))}
    if cls.__name__.endswith("QuestionAnswering"):  # before, inside and beyond the text
        positions = {name: drawn(-2, length + 3, (rows,)) for name in ("start", "end")}
        for values in positions.values():
            values[drawn(0, rows, (1,))] = length - 1
        return {f"{name}_positions": values for name, values in positions.items()}
    if cls.__name__ == "ElectraForPreTraining":
        labels = drawn(0, 2, (rows, length))
        return {"labels": labels if mask is None else labels.masked_fill(mask == 0, -100)}
    if cls.__name__.endswith("TokenClassification"):
        labels = drawn(0, config.num_labels, (rows, length))
    else:
        labels = ids.clone()
        labels[:, 0] = -100  # nothing predicts it
    labels[torch.rand(rows, length, generator=generator) < 0.2] = -100
    if mask is not None:
        labels[mask == 0] = -100
    if head_of(cls) == "PreTraining":
        pairs = "sentence_order_label" if "Albert" in cls.__name__ else "next_sentence_label"
        return {"labels": labels, pairs: drawn(0, 2, (rows,))}
    return {"labels": labels}


def loss_and_gradients(head, given, labels):
    answer = head(**given, **labels)
    loss = answer.loss
    if head_of(head.__class__) == "CausalLM":  # transformers rounds its logits to float
        loss = torch.nn.functional.cross_entropy(
            answer.logits[:, :-1].flatten(0, 1), labels["labels"][:, 1:].flatten()
        )
        assert abs(loss.item() - answer.loss.item()) < 1e-5
    if head.__class__.__name__ == "ElectraForPreTraining":  # and here its labels
        counted = labels["labels"] != -100
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            answer.logits[counted], labels["labels"][counted].double()
        )
        assert abs(loss.item() - answer.loss.item()) < 1e-5
    loss.backward()
    result = {"loss": loss.detach()}
    for name, parameter in head.named_parameters(remove_duplicate=False):
        tied = head.config.tie_word_embeddings and name in (head._tied_weights_keys or {})
        if parameter.grad is not None and not tied:
            result[f"gradients.{name}"] = parameter.grad
    return result


def random_case(draw, classes):
    """A model of random sizes, kinds and file types, with random ids, masks and types."""
    heads = draw.randint(1, 5)
    different = dict(
        vocab_size=draw.randint(8, 60),
        num_attention_heads=heads,
        hidden_size=heads * draw.randint(1, 9),
        num_hidden_layers=draw.randint(0, 4),
        intermediate_size=draw.randint(1, 40),
        max_position_embeddings=16 + draw.randint(0, 3),
        type_vocab_size=draw.randint(1, 3),
        layer_norm_eps=draw.choice([1e-12, 1e-5, 1e-3]),
        pad_token_id=draw.choice([0, 1, 2, 5]),
        hidden_act=draw.choice(
            ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh", "linear"]
        ),
        tie_word_embeddings=draw.random() < 0.6,
    )
    cls = draw.choice(classes)
    head = head_of(cls)
    rows, length = draw.randint(1, 5), draw.randint(2 if head else 1, 9)
    density = draw.choice([None, 0.9, 0.6, 0.2])
    pads, typed = draw.random() < 0.3, draw.random() < 0.5

    def inputs(g, c):
        ids = torch.randint(0, c.vocab_size, (rows, length), generator=g)
        if pads:
            ids[torch.rand(rows, length, generator=g) < 0.3] = c.pad_token_id
        mask = (
            None
            if density is None
            else (torch.rand(rows, length, generator=g) < density).to(torch.uint8)
        )
        if mask is not None and getattr(c, "is_decoder", False):
            # A decoder's token that sees none attends to the whole row, padding at its end too,
            # which a packed batch does not have.
            mask[mask[:, 0] == 0, -1] = 1
        type_ids = (
            torch.randint(0, c.type_vocab_size, (rows, length), generator=g) if typed else None
        )
        return ids, mask, type_ids

    options = dict(any_attention=True)
    if head == "MultipleChoice":
        options["choices"] = draw.choice([n for n in range(1, rows + 1) if rows % n == 0])
    if head == "CausalLM" or draw.random() < 0.2:
        different["is_decoder"] = draw.random() < 0.8
    if head == "QuestionAnswering":  # the loss of transformers depends on padding
        density = None
    elif head in ("SequenceClassification", "TokenClassification"):
        different["num_labels"] = draw.randint(1, 6)
        if head == "SequenceClassification" and draw.random() < 0.5:
            kinds = ["regression", "multi_label_classification"]
            different["problem_type"] = draw.choice(kinds)
    if draw.random() < 0.3:
        options["dtype"] = draw.choice([torch.float16, torch.bfloat16, torch.float64])
    if draw.random() < 0.2:
        options["shard"] = "2KB"
    elif draw.random() < 0.2:
        options["change"] = lambda tensors, g: rename(tensors, gamma_beta)
    return cls, different, inputs, options


def load(cls, folder):
    model, report = truth(cls, folder, output_loading_info=True)
    return model, sorted(report["missing_keys"]), sorted(report["unexpected_keys"])


def make(name, case, out, own_values=lambda values: values):
    """`own_values` gives a family's values of its configuration for those named as BERT's."""
    cls, different, inputs, options = case
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    config = cls.config_class(**own_values({**SMALL, **different}))
    arguments = {} if options.get("pooler", True) else {"add_pooling_layer": False}
    model = cls(config, **arguments).double()
    randomize(model, generator)
    if "sharpen" in options:
        with torch.no_grad():
            for parameter, p in model.named_parameters():
                if ".self.query" in parameter:
                    p.mul_(options["sharpen"])
    model.to(options.get("dtype", torch.float32))
    out.mkdir(parents=True)
    model.save_pretrained(
        out, **({"max_shard_size": options["shard"]} if "shard" in options else {})
    )

    weights = out / "model.safetensors"
    complete = tempfile.mkdtemp()
    shutil.copytree(out, complete, dirs_exist_ok=True)
    if "change" in options:
        tensors = options["change"](load_file(weights), generator)
        save(tensors, weights, format="pt")
        if not options.get("foreign"):
            shutil.copy(weights, complete)
    if "drop" in options:
        values = json.loads((out / "config.json").read_text())
        for key in options["drop"]:
            values.pop(key)
        (out / "config.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        shutil.copy(out / "config.json", complete)

    family = cls.__name__.partition("For")[0].removesuffix("Model").removesuffix("LMHead")
    base, base_missing, base_unexpected = load(getattr(transformers, family + "Model"), complete)
    made = (
        inputs(generator, config)
        if callable(inputs)
        else batch(generator, config, inputs, options.get("side", "right"))
    )
    ids, mask, type_ids = (*made, None)[:3]
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": type_ids}
    expected = {key: value for key, value in given.items() if value is not None}
    given = expected.copy()
    if hasattr(base.embeddings, "create_position_ids_from_input_ids"):
        expected["position_ids"] = base.embeddings.create_position_ids_from_input_ids(
            ids, config.pad_token_id
        )
    if options.get("head_only"):
        base = load(cls, complete)[0].base_model
    with torch.no_grad():
        result = base(**given, output_hidden_states=True, output_attentions=True)
    states = list(result.hidden_states) or [result.last_hidden_state]
    assert torch.equal(states[-1], result.last_hidden_state), name
    layers = config.num_hidden_layers * getattr(config, "inner_group_num", 1)
    assert len(states) == layers + 1 and len(result.attentions) == layers, name
    expected |= {f"hidden_states.{i}": state for i, state in enumerate(states)}
    expected |= {f"attentions.{i}": weights for i, weights in enumerate(result.attentions)}
    if "pooler_output" in result and not any("pooler" in key for key in base_missing):
        expected["pooler_output"] = result.pooler_output
    about = {
        "class": cls.__name__,
        "base_missing": " ".join(base_missing),
        "base_unexpected": " ".join(base_unexpected),
    }
    if head_of(cls):
        head, missing, unexpected = load(cls, complete)
        choices = options.get("choices", 0)
        if choices:
            about["choices"] = str(choices)
            given = {
                key: value.view(-1, choices, value.shape[1]) for key, value in given.items()
            }
        with torch.no_grad():
            answer = head(**given, output_hidden_states=True)
        assert torch.equal((answer.hidden_states or states)[-1], states[-1]), name
        outputs = "logits start_logits end_logits prediction_logits".split()
        outputs += ["seq_relationship_logits", "sop_logits"]
        expected |= {key: answer[key] for key in outputs if key in answer}
        if head_of(cls) in ("MaskedLM", "PreTraining"):
            about |= {"mlm_missing": " ".join(missing), "mlm_unexpected": " ".join(unexpected)}
        else:
            assert not unexpected, (name, unexpected)
        assert not missing, (name, missing)
        # The gradient of transformers for a token that may see none is not 0.
        causal = getattr(config, "is_decoder", False)
        seen = mask is None or bool((mask[:, 0] if causal else mask.amax(1)).all())
        if seen and options.get("loss", head_of(cls) != "MaskedLM"):
            labels = labels_for(cls, config, generator, ids, mask, choices)
            if "labels" not in labels or bool((labels["labels"] != -100).any()):
                expected |= labels | loss_and_gradients(head, given, labels)
    shutil.rmtree(complete)
    if len(states) > 1 and name != "masked_row_silu" and "any_attention" not in options:
        peak = max(float(a.amax()) for a in result.attentions)
        assert peak > 0.6, (name, "attention is nearly uniform", peak)
    for key, value in expected.items():
        assert not value.is_floating_point() or bool(torch.isfinite(value).all()), (name, key)
    save(expected, out / "expected.safetensors", **about)
    readable(out)


def differences(made, kept):
    """Files that differ: weights and inputs bit for bit, outputs beyond 1e-12."""
    for path in sorted(made.iterdir()):
        other = kept / path.name
        if not other.exists():
            yield f"{other} is missing"
        elif path.suffix == ".json":
            if json.loads(path.read_text()) != json.loads(other.read_text()):
                yield f"{other} differs"
        else:
            with safe_open(path, "pt") as a, safe_open(other, "pt") as b:
                if set(a.keys()) != set(b.keys()) or a.metadata() != b.metadata():
                    yield f"{other}: other tensors or metadata"
                    continue
                for key in a.keys():
                    x, y = a.get_tensor(key), b.get_tensor(key)
                    output = path.name == "expected.safetensors" and x.is_floating_point()
                    if not (
                        torch.allclose(x, y, rtol=1e-12, atol=1e-12)
                        if output
                        else torch.equal(x, y)
                    ):
                        yield f"{other}: {key} differs"


def main(about, cases, classes, make=make, random_case=random_case):
    """Makes every case, or as many random ones of the classes as --random says."""
    parser = parser_of(about)
    parser.add_argument("--only", choices=cases)
    parser.add_argument("--check", action="store_true")
    parser.add_argument(
        "--random", type=int, default=0, help="how many random cases to write instead"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.random > 0:
        draw = random.Random(arguments.seed)
        cases = {f"random_{i}": random_case(draw, classes) for i in range(arguments.random)}
    failures = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in [arguments.only] if arguments.only else cases:
            made = pathlib.Path(temporary) / name
            make(name, cases[name], made)
            if arguments.check:
                failures += differences(made, arguments.out / name)
            else:
                shutil.rmtree(arguments.out / name, ignore_errors=True)
                shutil.copytree(made, arguments.out / name)
            size = sum(path.stat().st_size for path in made.iterdir())
            print(f"{name}: {size} bytes")
    for failure in failures:
        print("error:", failure)
    return 1 if failures else 0
