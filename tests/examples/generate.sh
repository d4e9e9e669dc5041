#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
gpt2=$here/../fixtures/generation

expect_common
expect_usage --model "$gpt2" --precision half 'And God said'
expect_usage --model "$gpt2" --top-p 2 'And God said'
expect_usage --model "$gpt2" --temperature -1 'And God said'
expect_usage --model "$gpt2" --prompt 'And God said' 'And God said'

# What transformers generates; see tests/oracle/generation_fixtures.py.
# generated NUMBER: the JSON that begins the answer for prompt NUMBER, from 1.
generated() {
  grep -o '"decoded":.*' "$gpt2/text.json" | grep -oE '"ids": \[[0-9, ]+\]' | sed -n "$1p" |
    sed 's/^/{/' | tr -d ' '
}
expect 0 --model "$gpt2" --json --max-new-tokens 200 --prompt 'And God said'
lines 1
matches '^\{"ids":\[[0-9,]+\],"text":"And God said.*"\}$'
greedy=$out
[[ $out == "$(generated 1),"* ]] || complain 'not the tokens of transformers'

# The same from any source of text, in input order, and in readable output.
expect 0 --model "$gpt2" --json --max-new-tokens 200 'And God said' 'the light'
lines 2
[[ $(head -1 <<< "$out") == "$greedy" ]] || complain 'another answer for the first of two texts'
[[ $(tail -1 <<< "$out") == "$(generated 2),"* ]] || complain 'not the tokens for the second'
expect 0 --model "$gpt2" --json --max-new-tokens 200 <<< 'And God said'
[[ $out == "$greedy" ]] || complain 'another answer from standard input'
expect 0 --model "$gpt2" --max-new-tokens 5 --prompt 'And God said'
matches '^And God said.'

# Drawing depends on the seed alone.
expect 0 --model "$gpt2" --json --seed 3 --threads 1 'And God said'
drawn=$out
expect 0 --model "$gpt2" --json --seed 3 --temperature 1 --threads 3 'And God said'
[[ $out == "$drawn" ]] || complain 'another answer for the same seed'
expect 0 --model "$gpt2" --json --seed 4 'And God said'
[[ $out != "$drawn" ]] || complain 'the same answer for another seed'
expect 0 --model "$gpt2" --json --seed 4 --top-k 1 --max-new-tokens 200 'And God said'
[[ $out == "$greedy" ]] || complain 'the only token left is not the most likely one'
expect 0 --model "$gpt2" --json --temperature 0.7 --top-p 0.9 --repetition-penalty 1.2 --stop xyz <<< ''
lines 1

for precision in double bf16 int8; do
  expect 0 --model "$gpt2" --json --precision "$precision" --max-new-tokens 3 'And God said'
  matches '^\{"ids":\[[0-9,]+\],"text":"And God said'
done

# Up to what the model takes: 220 tokens.
expect 0 --model "$gpt2" --json --max-new-tokens 1000 'And God said'
[[ $(grep -oE '[0-9]+[],]' <<< "${out%%]*}]" | wc -l) -eq 220 ]] || complain 'not 220 tokens'
long=$(for _ in {1..300}; do printf 'word '; done)
expect_error 'but the model takes 220' --model "$gpt2" --prompt "$long"
expect 0 --model "$gpt2" --json --max-length 10 --max-new-tokens 2 --prompt "$long"
lines 1
expect_error 'gpt2' --prompt 'the model that ships is no GPT-2'
expect_error "$scratch/nowhere" --model "$scratch/nowhere" --prompt 'And God said'
