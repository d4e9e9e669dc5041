// The io room: files, JSON and safetensors.
#pragma once

#include "eigenformer/io/checkpoint.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/folder.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/io/packed_file.hpp"
#include "eigenformer/io/safetensors.hpp"
#include "eigenformer/io/svg.hpp"
