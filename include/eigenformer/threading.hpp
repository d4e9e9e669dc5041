// The threading room: the thread pool.
#pragma once

#include "eigenformer/threading/cpu_count.hpp"
#include "eigenformer/threading/thread_pool.hpp"
