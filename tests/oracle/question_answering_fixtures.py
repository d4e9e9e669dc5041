#!/usr/bin/env python3
"""Makes the fixtures of question answering: what the pipeline of transformers 4 answers in float64.

  python question_answering_fixtures.py --out tests/fixtures/question_answering

Needs transformers 4 (5 has no such pipeline). The folder gets `model/`, a small random RoBERTa with
a tokenizer; `untrimmed/tokenizer.json`, one whose offsets include spaces; `cases.json`, questions
and contexts with the pipeline's options and answers; `squad.json`, a SQuAD 2.0 file of the same
texts, and `predictions.json`, what the rule of run_qa.py (postprocess_qa_predictions, in examples/
of transformers) predicts for it.

Offsets are bytes. Answers of score 0, which the pipeline adds in any order where a window has
fewer spans than it asks for, are left out; so are cases whose answers a change of the logits in
the sixth digit would change.
"""

import json
import os
import pathlib
import random
import shutil
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy
import tokenizers
import torch
import transformers

from model_fixtures import parser_of, randomize, readable, truth

assert transformers.__version__.startswith("4."), "transformers 5 has no question-answering"
warnings.filterwarnings("ignore")

LONGEST = 128
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
VERSES = pathlib.Path(__file__).parent.parent / "fixtures" / "text" / "verses.txt"

QUESTIONS = [
    "Who created the heaven and the earth?",
    "What was upon the face of the deep?",
    "  where  ",
    "?",
    "When did \u0130stanbul see \u03a3\u03a3?",
    "\u65e5\u672c\u306f\u3069\u3053\u3067\u3059\u304b",
    "Which of the sons of God took wives, and of whom, and how many years were given to the man who "
    "was flesh, when the daughters of men were fair, and the spirit of the LORD strove no more?",
    "What is <mask> or </s>?",
]
CONTEXTS = [
    "God",
    " God ",
    " ",
    "\n\n\t",
    "the The THE tHe the, the; the. The",
    "In the beginning God created the heaven and the earth.",
    "  In   the\tbeginning\n\nGod  created the heaven  ",
    "na\u00efve caf\u00e9 \u2014 \u201cquoted\u201d \u00fcber stra\u00dfe STRASSE Stra\u00dfe",
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u306f\u7a7a\u767d\u304c\u3042\u308a\u307e\u305b\u3093\u3002" * 6,
    "e\u0301 \u1100\u1161\u11a8 \U0001f469\u200d\U0001f4bb \U0001f1eb\U0001f1f7 \U0001f600\U0001f600 x\u0300y",
    "\u0130stanbul i\u0307stanbul ISTANBUL istanbul \u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 "
    "\u03bf\u03b4\u03c5\u03c3\u03c3\u03b5\u03c5\u03c2",
    "one <mask> two </s> three <s> four <pad> five",
    "don't we'll they're I'd you've it's 3.14159 1,000,000 -1e-5 a_b @x #y",
    "Supercalifragilisticexpialidocious" * 8,
    "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 4,
    "\u0000 nul \u0001 \u007f \u0085 \u2028 \ufeff \ufffd end",
]


def favour_none(model, tokenizer, by):
    """Raises the logits of first tokens by about so much: some questions then have no answer."""
    ids = tokenizer(QUESTIONS[0], CONTEXTS[5], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        first = model.eval().roberta(ids)[0][0, 0]
        model.qa_outputs.weight.add_(by * first / first.dot(first))


def make_model(folder):
    """A RoBERTa whose answers depend on the question and differ from window to window."""
    folder.mkdir(parents=True)
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train([str(VERSES)], vocab_size=420, special_tokens=SPECIAL, show_progress=False)
    trained.save_model(str(folder))
    options = dict(model_max_length=LONGEST)
    untrimmed = transformers.RobertaTokenizerFast.from_pretrained(
        folder, trim_offsets=False, add_prefix_space=True, **options)
    tokenizer = transformers.RobertaTokenizerFast.from_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
        (folder / name).unlink()
    other = folder.parent / "untrimmed"
    other.mkdir()
    (other / "tokenizer.json").write_text(untrimmed.backend_tokenizer.to_str())
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=24, max_position_embeddings=LONGEST + 2, type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    model = transformers.RobertaForQuestionAnswering(config).double()
    randomize(model, torch.Generator().manual_seed(11))
    with torch.no_grad():
        model.qa_outputs.weight.mul_(1.5)
    favour_none(model, tokenizer, 3)
    model.float().save_pretrained(folder)
    model = truth(transformers.RobertaForQuestionAnswering, folder)
    return model, {"model": tokenizer, "untrimmed": untrimmed}


def shaken(values, generator):
    """The same, changed in the sixth digit."""
    noise = torch.randn(values.shape, generator=generator, dtype=values.dtype)
    return values + 2e-6 * (1 + values.abs()) * noise


def bytes_before(text, characters):
    return len(text[:characters].encode())


def answers_of(pipeline, outputs, context, options):
    answers = pipeline.postprocess(outputs, **options)
    answers = answers if isinstance(answers, list) else [answers]
    return [
        {"answer": a["answer"], "start": bytes_before(context, a["start"]),
         "end": bytes_before(context, a["end"]), "score": float(a["score"])}
        for a in answers
        if a["score"] > 0
    ]


def pipeline_case(pipeline, question, context, options, generator):
    """The pipeline's answers; none where they hang on the last digits."""
    before = {k: options[k] for k in ("max_seq_len", "doc_stride") if k in options}
    after = {k: v for k, v in options.items() if k not in before}
    inputs = list(pipeline.preprocess({"question": question, "context": context}, **before))
    with torch.no_grad():
        outputs = [pipeline._forward(window) for window in inputs]
    answers = answers_of(pipeline, outputs, context, after)
    whole = pipeline(question=question, context=context, **options)
    whole = whole if isinstance(whole, list) else [whole]
    assert [a["answer"] for a in whole][: len(answers)] == [a["answer"] for a in answers]
    place = [(a["answer"], a["start"], a["end"]) for a in answers]
    for _ in range(8):
        changed = [dict(o, start=shaken(o["start"], generator), end=shaken(o["end"], generator))
                   for o in outputs]
        again = answers_of(pipeline, changed, context, after)
        if place != [(a["answer"], a["start"], a["end"]) for a in again]:
            return None
    return answers


def random_options(chooser):
    options = {}
    if chooser.random() < 0.6:
        options["top_k"] = chooser.choice([2, 3, 5, 12])
    if chooser.random() < 0.4:
        options["max_answer_len"] = chooser.choice([1, 2, 5, 40])
    if chooser.random() < 0.4:
        options["handle_impossible_answer"] = True
        if chooser.random() < 0.2:
            options["top_k"] = 40  # so many that "" is among them
    if chooser.random() < 0.4:
        options["align_to_words"] = False
    if chooser.random() < 0.5:
        options["max_seq_len"] = chooser.choice([90, 100, 120])
    if chooser.random() < 0.5:
        options["doc_stride"] = chooser.choice([0, 1, 5, 11])
    return options


def make_cases(model, tokenizers_, contexts, count):
    chooser = random.Random(1)
    generator = torch.Generator().manual_seed(2)
    pipelines = {
        name: transformers.pipeline("question-answering", model=model, tokenizer=tokenizer)
        for name, tokenizer in tokenizers_.items()
    }
    cases, unstable = [], 0
    wanted = [(q, c) for c in range(len(contexts)) for q in range(len(QUESTIONS))]
    chooser.shuffle(wanted)
    for question, context in (wanted * 9)[:count]:
        name = chooser.choice(["model", "model", "untrimmed"])
        options = random_options(chooser)
        try:
            answers = pipeline_case(pipelines[name], QUESTIONS[question], contexts[context],
                                    options, generator)
        except BaseException as problem:  # a Rust panic is no Exception
            if isinstance(problem, (KeyboardInterrupt, AssertionError)):
                raise
            answers = "error"  # the question leaves no room for the context, or for the stride
        if answers is None:
            unstable += 1
            continue
        cases.append({"tokenizer": name, "question": question, "context": context,
                      "options": options, "answers": answers})
    print(f"{len(cases)} cases, {unstable} left out as too near ties")
    return cases


def squad_features(tokenizer, question, context, max_seq_length, doc_stride):
    """prepare_validation_features() of run_qa.py for one question, without padding."""
    encoded = tokenizer(question.lstrip(), context, truncation="only_second",
                        max_length=max_seq_length, stride=doc_stride,
                        return_overflowing_tokens=True, return_offsets_mapping=True)
    features = []
    for i, ids in enumerate(encoded["input_ids"]):
        inside = encoded.sequence_ids(i)
        offsets = [o if s == 1 else None for o, s in zip(encoded["offset_mapping"][i], inside)]
        features.append((ids, offsets))
    return features


def squad_logits(model, features):
    with torch.no_grad():
        outputs = [model(input_ids=torch.tensor([ids])) for ids, _ in features]
    return [(o.start_logits[0].numpy(), o.end_logits[0].numpy()) for o in outputs]


def squad_choice(context, features, logits, negative, n_best_size=20, max_answer_length=30,
                 null_score_diff_threshold=0.0):
    """The rule of postprocess_qa_predictions(): the text, and the null score's lead."""
    null, spans = None, []
    for (_, offsets), (start, end) in zip(features, logits):
        score = start[0] + end[0]
        if null is None or null["score"] > score:
            null = dict(place=(0, 0), score=score, start=start[0], end=end[0])
        for s in numpy.argsort(start)[-1 : -n_best_size - 1 : -1].tolist():
            for e in numpy.argsort(end)[-1 : -n_best_size - 1 : -1].tolist():
                if offsets[s] is None or offsets[e] is None:
                    continue
                if e < s or e - s + 1 > max_answer_length:
                    continue
                spans.append(dict(place=(offsets[s][0], offsets[e][1]), score=start[s] + end[e],
                                  start=start[s], end=end[e]))
    if negative:
        spans.append(null)
    best = sorted(spans, key=lambda span: span["score"], reverse=True)[:n_best_size]
    if negative and not any(span["place"] == (0, 0) for span in best):
        best.append(null)
    for span in best:
        span["text"] = context[span["place"][0] : span["place"][1]]
    if not best or (len(best) == 1 and best[0]["text"] == ""):
        best.insert(0, dict(text="empty", start=0.0, end=0.0, score=0.0))
    if not negative:
        return best[0]["text"], 0.0
    first = next(span for span in best if span["text"] != "")
    lead = null["score"] - first["start"] - first["end"]
    return ("" if lead > null_score_diff_threshold else first["text"]), float(lead)


SQUAD_SETTINGS = [
    dict(max_seq_length=128, doc_stride=64),
    dict(max_seq_length=100, doc_stride=20),
    dict(max_seq_length=110, doc_stride=0, max_answer_length=3),
    dict(max_seq_length=128, doc_stride=10, n_best_size=1),
    dict(max_seq_length=128, doc_stride=10, n_best_size=2),
    dict(max_seq_length=128, doc_stride=10, null_score_diff_threshold=3.0),
    dict(max_seq_length=128, doc_stride=10, null_score_diff_threshold=-3.0),
]


def make_squad(model, tokenizer, contexts):
    """A SQuAD 2.0 file, and for each setting what is predicted, as 1.1 and as 2.0."""
    generator = torch.Generator().manual_seed(3)
    settings = [{"options": s, "v1": {}, "v2": {}} for s in SQUAD_SETTINGS]
    paragraphs, dropped = [], 0
    for number, context in enumerate(contexts):
        kept = []
        for q, question in enumerate(QUESTIONS[2:6]):
            key = f"{number:03}-{q}"
            found = []
            for setting in settings:
                rule = dict(setting["options"])
                lengths = [rule.pop("max_seq_length"), rule.pop("doc_stride")]
                features = squad_features(tokenizer, question, context, *lengths)
                logits = squad_logits(model, features)
                changed = [tuple(shaken(torch.from_numpy(x), generator).numpy() for x in pair)
                           for _ in range(8) for pair in logits]
                changed = [changed[i : i + len(logits)]
                           for i in range(0, len(changed), len(logits))]
                for negative in (False, True):
                    try:
                        text, lead = squad_choice(context, features, logits, negative, **rule)
                        stable = all(
                            squad_choice(context, features, other, negative, **rule)[0] == text
                            for other in changed)
                    except StopIteration:  # all spans are empty, which the rule does not foresee
                        stable = False
                    found.append((setting, negative, text, lead) if stable else None)
            if None in found:
                dropped += 1
                continue
            for setting, negative, text, lead in found:
                setting["v2" if negative else "v1"][key] = [text, lead] if negative else text
            kept.append({"id": key, "question": question, "answers": [], "is_impossible": True})
        paragraphs.append({"context": context, "qas": kept})
    print(f"{sum(len(p['qas']) for p in paragraphs)} questions, {dropped} left out")
    squad = {"version": "v2.0", "data": [{"title": "a", "paragraphs": paragraphs[::2]},
                                         {"title": "b", "paragraphs": paragraphs[1::2]}]}
    return squad, settings


def write_json(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--cases", type=int, default=330)
    arguments = parser.parse_args()
    out = arguments.out
    if out.exists():
        shutil.rmtree(out)
    model, tokenizers_ = make_model(out / "model")
    verses = VERSES.read_text().splitlines()
    contexts = CONTEXTS + verses[:6] + [" ".join(verses[i : i + n]) for i, n in
                                        [(0, 3), (10, 4), (20, 8), (30, 12), (5, 2), (40, 5)]]
    cases = make_cases(model, tokenizers_, contexts, arguments.cases)
    write_json(out / "cases.json", {"questions": QUESTIONS, "contexts": contexts, "cases": cases})
    squad, settings = make_squad(model, tokenizers_["model"], contexts[::2])
    write_json(out / "squad.json", squad)
    write_json(out / "predictions.json", settings)
    readable(out)


if __name__ == "__main__":
    main()
