#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
verse='In the beginning God created the <mask> and the earth.'

expect_common
expect_usage
expect_usage --output "$scratch/x" --precision double

# Every precision gives a file that the programs beside this one take, with the answers of the folder.
cp "$model/tokenizer.json" "$scratch"
for precision in float bf16 int8; do
  program=$1
  expect 0 --model "$model" --precision $precision --output "$scratch/$precision"
  [[ -z $out$err ]] || complain "prints $out$err"
  program=$(dirname "$1")/fill_mask
  [[ -x $program ]] || continue
  expect 0 --json --precision $precision "$verse"
  from_folder=$out
  expect 0 --json --model "$scratch/$precision" "$verse"
  [[ $out == "$from_folder" ]] || complain "another answer: $out"
  expect 0 --json --model "$scratch/$precision" --precision $precision "$verse"
  [[ $out == "$from_folder" ]] || complain "another answer: $out"
  expect_error 'int8 is asked for' --model "$scratch/float" --precision int8 "$verse"
  expect_error 'models of float' --model "$scratch/$precision" --precision double "$verse"
done
program=$1
[[ $(stat -c %s "$scratch/int8") -lt $(stat -c %s "$scratch/bf16") ]] || complain 'int8 is no smaller'

# Every head, with the features of the folder.
for fixture in sequence_single_label token_holes question_answering multiple_choice causal base_pooler; do
  with_tokenizer $fixture
  program=$1
  expect 0 --model "$folder" --precision int8 --output "$folder/int8"
  program=$(dirname "$1")/features
  [[ -x $program ]] || continue
  expect 0 --model "$folder" --precision int8 --output "$scratch/of_folder" abc
  expect 0 --model "$folder/int8" --output "$scratch/of_file" abc
  cmp "$scratch/of_folder" "$scratch/of_file" || complain "other features of $fixture"
done
program=$1

# A packed file can be converted again, to the same; to another precision from the folder alone.
expect 0 --model "$scratch/bf16" --output "$scratch/again"
cmp "$scratch/bf16" "$scratch/again" || complain 'another file'
expect_error 'int8 is asked for' --model "$scratch/bf16" --precision int8 --output "$scratch/none"
expect_error "$scratch/nowhere" --model "$scratch/nowhere" --output "$scratch/none"
expect_error "$model/model.safetensors" --model "$model/model.safetensors" --output "$scratch/none"
head -c 100000 "$scratch/bf16" > "$scratch/short"
expect_error "$scratch/short" --model "$scratch/short" --output "$scratch/none"
[[ ! -e $scratch/none ]] || complain 'a file of a failed run'
expect_error "$scratch/no/folder" --output "$scratch/no/folder/x"

# A folder again: the weights that ship, in bfloat16, are the same after a turn through float32.
expect_usage --output "$scratch/x" --dtype half
expect_usage --output "$scratch/x" --dtype bfloat16 --precision bf16
expect 0 --model "$model" --dtype float32 --output "$scratch/float32"
expect 0 --model "$scratch/float32" --dtype bfloat16 --output "$scratch/bfloat16"
cmp "$model/model.safetensors" "$scratch/bfloat16/model.safetensors" || complain 'other weights'
cmp "$model/tokenizer.json" "$scratch/bfloat16/tokenizer.json" || complain 'another tokenizer'
[[ $(stat -c %s "$scratch/float32/model.safetensors") -gt 19000000 ]] || complain 'not float32'
expect_error 'packed' --model "$scratch/int8" --dtype float32 --output "$scratch/none"
[[ ! -e $scratch/none/config.json ]] || complain 'a folder of a failed run'
