/*
 * resp.h - reads one request from a client's bytes: a RESP array of bulk strings, or an inline
 * command.
 *
 *	*3\r\n$6\r\nHF.GET\r\n$5\r\norder\r\n$2\r\n42\r\n
 *	HF.GET order "42"\r\n
 *
 * A pure function over the bytes: it keeps no state between calls and allocates nothing. Every
 * length is held against base/limits.h as soon as it is announced, before any of what it
 * announces has to be there.
 */
#ifndef HF_SERVER_RESP_H
#define HF_SERVER_RESP_H

#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/span.h"

struct hf_resp_command {
	uint32_t argc; /* 0: an empty command, to be passed over without a reply */
	struct hf_span argv[HF_ARGS_MAX];
};

enum hf_resp_result {
	HF_RESP_COMMAND, /* a whole command is there */
	HF_RESP_MORE,	 /* so far a good beginning */
	HF_RESP_ERROR,	 /* not RESP, or over a limit: no later byte can mend it */
};

/*
 * Parses the command at the start of buf[0..len).
 *
 * HF_RESP_COMMAND: `command` points into `buf`, `*ret_size` is the bytes it takes. A complete
 * inline command with quotes is rewritten in place, within those bytes. HF_RESP_MORE:
 * `*ret_size` > len is the least number of bytes that can hold a whole command; at most
 * HF_COMMAND_MAX. HF_RESP_ERROR: `err` says what is wrong, in Redis's words where Redis has
 * some ("Protocol error: ...").
 */
enum hf_resp_result hf_resp_parse(uint8_t *buf, size_t len, struct hf_resp_command *command,
				  size_t *ret_size, struct hf_err *err);
/*
 * The bytes of the complete inline command with quotes at the start of buf[0..len); 0 if there is
 * another one, or none. To be parsed more than once it has to be copied.
 */
size_t hf_resp_quoted_line(const uint8_t *buf, size_t len);

#endif
