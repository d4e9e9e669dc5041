#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"

expect_common
expect_usage --top 0 'text'

# Three labels by name, a probability each, the best first.
with_tokenizer sequence_single_label
three=$folder
expect 0 --model "$three" --json abc
lines 1
times 3 '"label":'
matches '^\{"labels":\[\{"label":"[a-z]+","score":0\.[0-9]+\},'
matches '"entailment"'
all=$out
expect 0 --model "$three" --json --top 1 abc
times 1 '"label":'
expect 0 --model "$three" abc
lines 4
matches '^  [ 0-9.]+ %  [a-z]+ +#+$'

# Pairs, any source of text, one object each; threads do not change a bit.
printf 'abc\na\tb\n\nabc' > "$scratch/lines"
for threads in 1 3; do
  expect 0 --model "$three" --json --threads $threads --input "$scratch/lines"
  lines 4
  [[ $(head -1 <<< "$out") == "$all" && $(tail -1 <<< "$out") == "$all" ]] ||
    complain 'another answer in a file'
done
expect 0 --model "$three" --json <<< abc
[[ $out == "$all" ]] || complain 'another answer from standard input'
for precision in double bf16 int8; do
  expect 0 --model "$three" --json --precision $precision abc
  times 3 '"label":'
done

# One label is a probability, unless the model was made for regression.
with_tokenizer sequence_regression
expect 0 --model "$folder" --json abc
matches '^\{"labels":\[\{"label":"LABEL_0","score":0\.[0-9]+\}\]\}$'
sed -i '1s/{/{"problem_type": "regression",/' "$folder/config.json"
expect 0 --model "$folder" --json abc a
lines 2
matches '^\{"score":-?[0-9.]+\}$'
expect 0 --model "$folder" abc
matches '^  +-?[0-9.]+  LABEL_0$'

expect_error '14' --model "$three" aaaaaaaaaaaaaaaaaaaaaa
expect 0 --model "$three" --json --max-length 5 aaaaaaaaaaaaaaaaaaaaaa
expect_error 'line 1' --model "$three" --input <(printf 'b\tc\td\na\n')
expect_error 'RobertaForMaskedLM' 'abc'
expect_error "$scratch/nowhere" --model "$scratch/nowhere" abc
