#!/usr/bin/env python3
"""What sentence-transformers computes in float64 with the published all-MiniLM-L6-v2.

  python minilm_fixtures.py --model all-MiniLM-L6-v2 --shared shared/data --out tests/fixtures/minilm

Of the texts of the fixture `sentences` and of verses, `expected.safetensors` has the embeddings,
rounded to float32. `stsb.json` has Spearman's correlation of the cosines with the scores of STS-B's
dev.tsv.
"""

import json
import pathlib

import torch
from scipy.stats import spearmanr
from sentence_transformers.util import pairwise_cos_sim

from model_fixtures import parser_of, readable, save
from sentence_fixtures import load

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"


def stsb(model, path):
    """Of GLUE's columns, the last three are two sentences and their score."""
    rows = [line.split("\t")[-3:] for line in path.read_text().splitlines()[1:]]
    first, second = (model.encode([row[i] for row in rows], convert_to_tensor=True) for i in (0, 1))
    assert first.dtype == torch.float64
    scores = [float(row[2]) for row in rows]
    spearman = spearmanr(pairwise_cos_sim(first, second).cpu().numpy(), scores)[0]
    return {"pairs": len(rows), "spearman": float(spearman)}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--model", required=True, help="the folder")
    parser.add_argument("--shared", required=True, type=pathlib.Path, help="holds stsb/dev.tsv")
    options = parser.parse_args()
    texts = json.loads((FIXTURES / "sentences" / "texts.json").read_text())["texts"]
    texts += (FIXTURES / "text" / "verses.txt").read_text().splitlines()[:64]
    model = load(options.model)
    embeddings = model.encode(texts, convert_to_tensor=True)
    assert embeddings.dtype == torch.float64
    save({"embeddings": embeddings.float().cpu()}, options.out / "expected.safetensors")
    figures = stsb(model, options.shared / "stsb" / "dev.tsv")
    (options.out / "stsb.json").write_text(json.dumps(figures, indent=1) + "\n")
    readable(options.out)


if __name__ == "__main__":
    main()
