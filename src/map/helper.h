/*
 * helper.h - a thread of the map's own that finds memory before it is needed, and gives back what
 * no longer is, so that no write waits for the system: see hf_map_options.helper.
 */
#ifndef HF_MAP_HELPER_H
#define HF_MAP_HELPER_H

#include "base/err.h"

struct hf_helper;
struct hf_pieces;

/* Starts it; it does what hf_pieces_help has to do. */
HF_MUST bool hf_helper_start(struct hf_pieces *pieces, struct hf_helper **ret, struct hf_err *err);
/* There may be something to do. From any thread. NULL: there is no helper. */
void hf_helper_ask(struct hf_helper *helper);
/* Ends it, within the time that 2 MB take. NULL is fine. */
void hf_helper_stop(struct hf_helper *helper);

#endif
