#!/usr/bin/env python3
"""Makes the fixtures of pipelines over BERT: what transformers' pipelines answer in float64.

  python bert_pipelines_fixtures.py --out tests/fixtures/bert_pipelines

Each folder is a small random model with its tokenizer, and `expected.json` has the answers by
folder. For `masked_lm` these are the guesses [id, score] for each text's mask and, as `embeddings`,
the mean of the encoder's states; for `sequence` [label, score] for each text or pair; for `token`
[tag, begin, end, score], in characters, for each token of a text; for `question` the start and end
scores of the tokens of each question and context.
"""

import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

from model_fixtures import parser_of, randomize, truth

WORDS = """[PAD] [UNK] [CLS] [SEP] [MASK] the in beginning god created heaven and earth was without
form void dark ##ness upon face of deep said let there be light ##s a b c ##a ##b e . , ? ! : who
what where""".split()
TEXTS = [
    "In the beginning God created the heaven and the earth.",
    "And the earth was without form, and void; and darkness was upon the face of the deep.",
    "And God said, Let there be light: and there was light.",
    "Lights!",
    "Ärger naïve 日本",
]
MASKED = [
    "In the [MASK] God created the heaven and the earth.",
    "[MASK]",
    "and there was [MASK]",
]
PAIRS = [["Let there be light", "and there was light."], ["void", "without form"]]
QUESTIONS = [["Who created the heaven?", TEXTS[0]], ["What was upon the deep?", TEXTS[1]]]
SIZES = dict(
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=11,
    max_position_embeddings=64,
)


def made(name, cls, out, generator, **different):
    """The folder of a model, and the same in float64 with its tokenizer."""
    folder = out / name
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    tokenizer = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=64)
    config = transformers.BertConfig(vocab_size=len(WORDS), **SIZES, **different)
    model = cls(config).double()
    randomize(model, generator)
    model.float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").unlink()
    return truth(cls, folder), transformers.AutoTokenizer.from_pretrained(folder)


def main():
    out = parser_of(__doc__).parse_args().out
    g = torch.Generator().manual_seed(7)
    expected = {"texts": TEXTS, "masked": MASKED, "pairs": PAIRS, "questions": QUESTIONS}

    model, tokenizer = made("masked_lm", transformers.BertForMaskedLM, out, g)
    fill = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer)
    expected["masked_lm"] = [[[x["token"], x["score"]] for x in fill(text)] for text in MASKED]
    with torch.no_grad():
        states = [model.bert(**tokenizer(t, return_tensors="pt"))[0][0] for t in TEXTS]
    expected["embeddings"] = [state.mean(0).tolist() for state in states]

    names = {0: "no", 1: "perhaps", 2: "yes"}
    model, tokenizer = made(
        "sequence", transformers.BertForSequenceClassification, out, g, id2label=names
    )
    classify = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    inputs = TEXTS + [{"text": a, "text_pair": b} for a, b in PAIRS]
    expected["sequence"] = [
        [[x["label"], x["score"]] for x in classify(one, top_k=None)] for one in inputs
    ]

    names = {0: "O", 1: "B-PER", 2: "I-PER"}
    model, tokenizer = made(
        "token", transformers.BertForTokenClassification, out, g, id2label=names
    )
    tag = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer)
    expected["token"] = [
        [[x["entity"], x["start"], x["end"], float(x["score"])] for x in tag(text, ignore_labels=[])]
        for text in TEXTS
    ]

    model, tokenizer = made("question", transformers.BertForQuestionAnswering, out, g)
    expected["question"] = []
    for question, context in QUESTIONS:
        with torch.no_grad():
            answer = model(**tokenizer(question, context, return_tensors="pt"))
        expected["question"].append([answer[k][0].tolist() for k in ("start_logits", "end_logits")])

    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
