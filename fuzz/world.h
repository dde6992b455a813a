/*
 * world.h - the small world that several targets share: one contract, entities `a` and `b`, and
 * questions to an engine that must have good answers whatever it was recovered from.
 */
#ifndef HF_FUZZ_WORLD_H
#define HF_FUZZ_WORLD_H

#include "base/span.h"
#include "engine/engine.h"

/* The contract's text; its name is `t`. */
extern const char hf_fuzz_contract[];

/* "a record\xf5\xf6another": what stands before the next separator, which is taken, too. */
struct hf_span hf_fuzz_take_part(struct hf_span *input);

/* Loads the contract, and sends the lives of `a` and `b`, with ids; more than HF_SKIP_VERSIONS. */
void hf_fuzz_fill(struct hf_engine *engine);
/* Then, some more events. */
void hf_fuzz_fill_more(struct hf_engine *engine);

/* Reads all that can be read of `a` and `b` under every contract, and what adds up must. */
void hf_fuzz_ask(struct hf_engine *engine);

#endif
