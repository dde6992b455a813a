/*
 * witness.c - a second, synced record of how far the log was durable.
 *
 * The log proves of itself all but one thing: that its last group is not missing altogether, for
 * zeros look like what was never written. So a thread writes down, a little after the fact, the
 * last LSN that was durable; a log that ends before that LSN has lost something.
 *
 *   acked.hfw   two slots, at 0 and 4096, written in turn, 512 bytes each
 *     0  8  "HFACKED1"
 *     8  4  CRC32C of the slot with these 4 bytes zero
 *    12  4  header CRC of the frame that ends with the LSN
 *    16  8  log id
 *    24  8  LSN: it and all before it were durable
 *    32     zeros
 *
 * Of two valid slots of the log's id the one with the higher LSN counts. Nobody waits for the
 * witness: it may be up to WITNESS_DELAY_NS behind, never ahead.
 */
#include <stdio.h>
#include <string.h>

#include "frame/cursor.h"
#include "log/log_private.h"

#define WITNESS_NAME "acked.hfw"
#define SLOT_STRIDE 4096u
#define WITNESS_DELAY_NS 20000000u

static const uint8_t witness_magic[8] = "HFACKED1";
