#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"

expect_common

expect 0
matches RobertaForMaskedLM
expect 0 --json --model "$model"
lines 1
matches '"architecture":"RobertaForMaskedLM"'
matches '"parameters":[0-9]{6,}'
matches '"name":"roberta\.embeddings\.word_embeddings\.weight"'
matches '"dtype":"BF16"'
matches '"missing":\[\]'
matches '"unexpected":\[\]'

expect 0 --json --model "$model/model.safetensors"
matches '"architecture":null'

expect_error "$scratch/nowhere" --model "$scratch/nowhere"
head -c 1000 "$model/model.safetensors" > "$scratch/short.safetensors"
expect_error short.safetensors --model "$scratch/short.safetensors"
