#!/usr/bin/env python3
"""What sentence-transformers computes in float64 with the published all-MiniLM-L6-v2.

  python minilm_fixtures.py --model all-MiniLM-L6-v2 --out tests/fixtures/minilm

Of the texts of the fixture `sentences` and of verses, `expected.safetensors` has the embeddings,
rounded to float32.
"""

import json
import pathlib

import torch

from model_fixtures import parser_of, readable, save
from sentence_fixtures import load

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--model", required=True, help="the folder")
    options = parser.parse_args()
    texts = json.loads((FIXTURES / "sentences" / "texts.json").read_text())["texts"]
    texts += (FIXTURES / "text" / "verses.txt").read_text().splitlines()[:64]
    embeddings = load(options.model).encode(texts, convert_to_tensor=True)
    assert embeddings.dtype == torch.float64
    save({"embeddings": embeddings.float().cpu()}, options.out / "expected.safetensors")
    readable(options.out)


if __name__ == "__main__":
    main()
