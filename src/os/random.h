/*
 * random.h - randomness from the kernel. Used for identities of logs, never in a contract step.
 */
#ifndef HF_OS_RANDOM_H
#define HF_OS_RANDOM_H

#include <stdint.h>

#include "base/err.h"

HF_MUST bool hf_random_u64(uint64_t *ret, struct hf_err *err);

#endif
