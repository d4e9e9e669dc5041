#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
verse='In the beginning God created the <mask> and the earth.'

expect_common
expect_usage --precision half "$verse"
expect_usage --top

expect 0 "$verse"
matches 'heaven'
expect 0 --json --top 3 "$verse"
lines 1
times 3 '"token":'
matches '^\{.*"masks":\[\[\{.*"token":".*heaven.*\}\]\].*\}$'
matches '"id":[0-9]+'
matches '"score":0?\.?[0-9]'
heaven=$out

# The same answer from any source of text, in input order.
expect 0 --json --top 3 --model "$model" <<< "$verse"
[[ $out == "$heaven" ]] || complain 'another answer from standard input'
printf '%s\n<mask> <mask>\r\n%s' "$verse" "$verse" > "$scratch/lines"
expect 0 --json --top 3 --input "$scratch/lines"
lines 3
times 12 '"token":'
[[ $(head -1 <<< "$out") == "$heaven" && $(tail -1 <<< "$out") == "$heaven" ]] ||
  complain 'another answer in a file'

# Threads do not change a bit; instruction sets and precisions change the last digits alone.
expect 0 --json --top 3 --threads 1 "$verse"
one=$out
expect 0 --json --top 3 --threads 3 "$verse"
[[ $out == "$one" ]] || complain 'threads change the answer'
tokens() { grep -o '"token":"[^"]*"'; }
options=('--precision double')
[[ $("$program" --help) != *--isa* ]] || options+=('--isa scalar')
for option in "${options[@]}"; do
  # shellcheck disable=SC2086
  expect 0 --json --top 3 $option "$verse"
  [[ $(tokens <<< "$out") == "$(tokens <<< "$one")" ]] || complain "other tokens: $out"
done

expect_error "$scratch/nowhere" --model "$scratch/nowhere" "$verse"
expect_error "$scratch/absent" --input "$scratch/absent"
expect_error '512' --input <(for _ in {1..1000}; do printf 'word '; done)
expect 0 --json --max-length 40 --input <(printf '<mask> '; for _ in {1..1000}; do printf 'word '; done)
lines 1

# A damaged folder is refused before anything is printed.
cp -r "$model" "$scratch/broken"
truncate -s -10 "$scratch/broken/model.safetensors"
expect_error model.safetensors --model "$scratch/broken" "$verse"
echo '{' > "$scratch/broken/config.json"
expect_error config.json --model "$scratch/broken" "$verse"
