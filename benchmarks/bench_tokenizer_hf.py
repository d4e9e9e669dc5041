#!/usr/bin/env python3
"""Hugging Face tokenizers on the lines that bench_tokenizer measures, on one thread: megabytes of text per second of processor time.

  bench_tokenizer_hf.py --model ../shared/data/roberta-base FILE...
  bench_tokenizer_hf.py --model DIR --program build/benchmarks/bench_tokenizer FILE...   also runs ours on each file, and prints the ratio

"first" is the first call of the process, before any word is remembered; "again" is the median of the calls after it; "train" is learning a vocabulary of
30,000 tokens.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import time

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}


def measure(tokenizer, lines, runs):
    size = sum(len(line.encode()) for line in lines)
    speeds = []
    for _ in range(runs + 1):
        begin = time.process_time()
        encodings = tokenizer.encode_batch(lines, add_special_tokens=False)
        tokens = sum(map(len, encodings))
        speeds.append(size / (time.process_time() - begin) / 1e6)
    return tokens, {"first": speeds[0], "again": statistics.median(speeds[1:])}


def measure_training(lines):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=30000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    begin = time.process_time()
    tokenizer.train_from_iterator(lines, trainer)
    return sum(len(line.encode()) for line in lines) / (time.process_time() - begin) / 1e6


def ours(program, model, file):
    command = [program, "--model", model, "--text", file, "--benchmark_format=json", "--benchmark_filter=/(first|again|batch|train)/.*/1$",
               "--benchmark_repetitions=5", "--benchmark_report_aggregates_only=true"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["benchmarks"]
    return {row["run_name"].split("/")[1]: row["bytes_per_second"] / 1e6 for row in rows if row["aggregate_name"] == "median"}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--program")
    ap.add_argument("--runs", type=int, default=5)
    ap.add_argument("files", nargs="+")
    args = ap.parse_args()
    from tokenizers import Tokenizer, __version__
    for file in args.files:
        tokenizer = Tokenizer.from_file(str(pathlib.Path(args.model) / "tokenizer.json"))
        text = pathlib.Path(file).read_bytes().decode()
        lines = text.removesuffix("\n").split("\n")
        tokens, speeds = measure(tokenizer, lines, args.runs)
        speeds["train"] = measure_training(lines)
        name = pathlib.Path(file).name
        print(f"{name}: tokenizers {__version__}: first {speeds['first']:.2f} MB/s, again {speeds['again']:.2f} MB/s, train {speeds['train']:.2f} MB/s, {tokens} tokens", flush=True)
        if args.program:
            mine = ours(args.program, args.model, file)
            print(f"{name}: eigenformer: " + ", ".join(f"{what} {speed:.1f} MB/s" for what, speed in mine.items()) +
                  "; ratio " + ", ".join(f"{what} {mine[what] / speed:.1f}" for what, speed in speeds.items()), flush=True)


if __name__ == "__main__":
    main()
