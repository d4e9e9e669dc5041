#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"

expect_common
expect_usage 'a text without labels'

with_tokenizer sequence_single_label

# Probabilities over the labels, the best first; each label's own.
expect 0 --model "$folder" --json --template '{}' --label ab --label c abc
lines 1
times 2 '"label":'
matches '^\{"labels":\[\{"label":"(ab|c)","score":0\.[0-9]+\},\{"label":"(ab|c)","score":0\.[0-9]+\}\]\}$'
[[ -z $err ]] || complain "warns: $err"
both=$out
expect 0 --model "$folder" --json --template '{}' --label ab --label c --multi-label abc
[[ $out != "$both" ]] || complain 'the same scores for each label alone'
expect 0 --model "$folder" --template '{}' --label ab --label c abc
lines 3
matches '^  [ 0-9.]+ %  (ab|c) +#+$'

# Any source of text, one object each.
printf 'abc\n\nabc' > "$scratch/lines"
expect 0 --model "$folder" --json --template '{}' --label ab --label c --input "$scratch/lines"
lines 3
[[ $(head -1 <<< "$out") == "$both" && $(tail -1 <<< "$out") == "$both" ]] ||
  complain 'another answer in a file'

# A text too long loses its end, a label never does.
expect 0 --model "$folder" --json --template '{}' --label a aaaaaaaaaaaaaaaaaaaaaa
lines 1
expect_error 'larger max_length' --model "$folder" --template '{}' --label aaaaaaaaaaaaaaaaaaaaaa a
expect_error 'no place' --model "$folder" --template 'no place' --label a a
expect_error 'tab' --model "$folder" --template '{}' --label a $'a\tb'

# A model whose labels say nothing about entailment is pointed out.
sed -i 's/"entailment"/"sport"/' "$folder/config.json"
expect 0 --model "$folder" --json --template '{}' --label a a
[[ $err == warning:*sport* ]] || complain "does not warn: $err"
