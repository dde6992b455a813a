/*
 * text.h - bytes that others wrote, as they are read and printed.
 */
#ifndef HF_CLI_TEXT_H
#define HF_CLI_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/span.h"

#define HF_TEXT_CONTRACT_ROOM (HF_CONTRACT_TEXT_MAX + 1)

/*
 * Reads a contract's text from an open file into `buf`, of HF_TEXT_CONTRACT_ROOM bytes. One that is
 * too long fills it, which hf_contract_compile tells.
 */
HF_MUST bool hf_text_read_contract(FILE *file, const char *path, uint8_t *buf, size_t *ret_len,
				   struct hf_err *err);

/* Is this a byte of a UTF-8 character other than its first? */
static inline bool hf_text_continues(uint8_t c) {
	return (c & 0xc0) == 0x80;
}

/* Is all of it well-formed UTF-8? */
bool hf_text_is_utf8(struct hf_span text);

/* A JSON string, on stdout; bytes that are no UTF-8 become the replacement character. */
void hf_text_json(struct hf_span text);

/* Two digits a byte, on stdout. */
void hf_text_hex(struct hf_span bytes);

/* As it is, but ? for each character that a terminal would obey; tabs stay. */
void hf_text_show(FILE *to, struct hf_span text);

#endif
