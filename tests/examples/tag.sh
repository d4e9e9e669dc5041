#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
fixtures=$here/../fixtures/token_classification
cp -r "$fixtures/bio" "$scratch/folder"
cp "$fixtures/byte_level/"* "$scratch/folder"
tag() { expect 0 --model "$scratch/folder" "$@"; }
verse='And Moses went up unto God, and the LORD called.'
long=$(printf 'word %.0s' {1..60})

expect_common
expect_usage --aggregation best "$verse"
expect_usage --stride

tag --json "$verse"
lines 1
matches '^\{"entities":\[(\{"end":[0-9]+,"score":0\.[0-9]+,"start":[0-9]+,"text":"[^"]*","type":"(PER|LOC)"\},?)+\]\}$'
one=$out
tag --json --aggregation simple --ignore O "$verse"
[[ $out == "$one" ]] || complain 'simple is not the default'
tag --json --aggregation none "$verse"
matches '"type":"[BI]-(PER|LOC)"'
for strategy in first average max; do
  tag --json --aggregation $strategy "$verse"
  [[ $out != "$one" ]] || complain "is as simple"
done
tag --json --ignore PER --ignore LOC --ignore O "$verse"
[[ $out == '{"entities":[]}' ]] || complain "does not ignore: $out"
tag --json --ignore PER "$verse"
matches '"type":"O"'

# Offsets are bytes of the line.
tag --json --ignore none 'é日'
matches '"end":5,'
tag --json --ignore none $'\xff\xe9'
matches '"end":2,'

# The same from any source of text, whatever the threads; an empty line is an input.
for threads in 1 3; do
  tag --json --threads $threads <<< $'\n'"$verse"
  lines 2
  [[ $out == '{"entities":[]}'$'\n'"$one" ]] || complain 'another answer from standard input'
done
for precision in double bf16 int8; do
  tag --json --precision $precision "$verse"
  lines 1
done

# Readable: every byte of the text is there, with brackets around entities; no colours in a file.
tag "$verse"
matches '^[A-Za-z ]*\[(PER|LOC) .*\]'
matches '^ +[0-9]+\.[0-9] %  (PER|LOC)  '
[[ $(head -1 <<< "$out" | sed -E 's/\[(PER|LOC) ([^]]*)\]/\2/g') == "$verse" ]] || complain "another text: $out"
[[ $out != *$'\033'* ]] || complain 'colours in a file'
tag --aggregation none '日本'  # tokens that share a character
tag ''
lines 1

# A text that is too long is an error that says how to go on.
expect_error 'line 1: ' --model "$scratch/folder" <<< "$long"
expect_error 'but the model takes 40' --model "$scratch/folder" "$long"
tag --max-length 40 "$long"
tag --json --stride 8 "$long"
matches '"end":2[0-9][0-9],'
expect_error 'stride' --model "$scratch/folder" --stride 8 --aggregation none "$long"
expect_error 'not a pair' --model "$scratch/folder" $'a\tb'
expect_error 'classifier.weight' "$verse"
expect_error "$scratch/nowhere" --model "$scratch/nowhere" "$verse"
