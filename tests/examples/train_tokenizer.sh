#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
verses=$here/../fixtures/text/verses.txt

expect_common
expect_usage
expect_usage "$verses"
expect_usage --output "$scratch/x"
expect_usage --output "$scratch/x" --vocab-size 0 "$verses"
expect_usage --output "$scratch/x" --min-frequency -1 "$verses"

# A folder as published ones, the same for any number of threads; files count together.
expect 0 --vocab-size 700 --output "$scratch/one" "$verses"
[[ -z $err ]] || complain "prints $err"
matches '^vocabulary +700 tokens$'
matches '^merges +439$'
matches "^text +$(LC_ALL=C.UTF-8 wc -m < "$verses") characters, [0-9]+ different words$"
matches '^encoded +[0-9]+ tokens, 2\.[0-9]{2} characters per token$'
[[ $(ls "$scratch/one") == $'merges.txt\ntokenizer.json\ntokenizer_config.json\nvocab.json' ]] ||
  complain "other files: $(ls "$scratch/one")"
[[ $(wc -l < "$scratch/one/merges.txt") -eq 440 ]] || complain 'not 439 merges and a line of version'
grep -q '"<mask>":699}' "$scratch/one/vocab.json" || complain '<mask> is not the last token'
head -20 "$verses" > "$scratch/head"
tail -n +21 "$verses" > "$scratch/tail"
expect 0 --vocab-size 700 --threads 3 --output "$scratch/two" --json "$scratch/tail" "$scratch/head"
matches '^\{"characters":[0-9]+,"characters_per_token":2\.[0-9]+,"merges":439,"tokens":[0-9]+,"vocab_size":700,"words":[0-9]+\}$'
diff -r "$scratch/one" "$scratch/two" || complain 'another tokenizer from two parts'
expect 0 --vocab-size 700 --output "$scratch/two" --input "$verses"
diff -r "$scratch/one" "$scratch/two" || complain 'another tokenizer with --input'

# The text may give less than was asked for.
expect 0 --output "$scratch/all" "$verses"
matches '^vocabulary +[0-9]+ tokens, all that this text gives; 50265 were asked for$'
expect 0 --vocab-size 50265 --min-frequency 3 --output "$scratch/few" "$verses"
[[ $(wc -l < "$scratch/few/merges.txt") -lt $(wc -l < "$scratch/all/merges.txt") ]] ||
  complain 'as many merges with --min-frequency 3'

# The tokenizer serves the program beside this one.
program=$(dirname "$1")/tokenize
if [[ -x $program ]]; then
  cp "$model/config.json" "$scratch/one"
  expect 0 --json --model "$scratch/one" 'the man <mask>'
  matches '"ids":\[0,.*,699,2\]'
  matches '"tokens":\["<s>",.*"Ġman","<mask>","</s>"\]'
fi
program=$1

expect_error 'vocab_size 260 must be at least' --vocab-size 260 --output "$scratch/none" "$verses"
expect_error 'no text' --output "$scratch/none" /dev/null
expect_error "$scratch/nowhere" --output "$scratch/none" "$scratch/nowhere"
[[ ! -e $scratch/none ]] || complain 'a folder of a failed run'
expect_error "$scratch/no/folder" --output "$scratch/no/folder" "$verses"
