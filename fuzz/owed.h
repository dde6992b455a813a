/*
 * owed.h - up to where the log must be durable before a client may see what it is told: noted from
 * what the engine says to the server of each request, whatever the server then makes of it.
 */
#ifndef HF_FUZZ_OWED_H
#define HF_FUZZ_OWED_H

#include "server/conn.h"

/* The connections so far are gone. */
void hf_owed_forget(void);

/*
 * What is owed for the first `len` bytes of what is sent to `conn`: the highest LSN that any of
 * those depends on that this was not asked for before; 0 if none does.
 */
uint64_t hf_owed_for(const struct hf_conn *conn, uint64_t len);

#endif
