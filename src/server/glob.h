/*
 * glob.h - Redis's patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`, over any bytes.
 */
#ifndef HF_SERVER_GLOB_H
#define HF_SERVER_GLOB_H

#include "base/span.h"

/*
 * Does all of `text` match (ASCII letters without case, if `nocase`)? A class without its end goes
 * to the end of the pattern, as Redis has it. Takes at most the product of both lengths.
 */
bool hf_glob_matches(struct hf_span pattern, struct hf_span text, bool nocase);

#endif
