#include "server/resp.h"

/* The shortest bulk string, "$0\r\n\r\n", and the longest decimal that can matter. */
#define BULK_SIZE_MIN 6u
#define DIGITS_MAX 18u

static enum hf_resp_result bad(struct hf_err *err, const char *what) {
	(void)hf_fail(err, HF_USAGE, "Protocol error: %s", what);
	return HF_RESP_ERROR;
}

static enum hf_resp_result over(struct hf_err *err, const char *what, int64_t value, uint32_t limit,
				const char *unit) {
	(void)hf_fail(err, HF_USAGE, "Protocol error: invalid %s: %lld is over the limit of %u %s",
		      what, (long long)value, limit, unit);
	return HF_RESP_ERROR;
}

static enum hf_resp_result more(size_t need, size_t len, size_t *ret_size, struct hf_err *err) {
	if (need <= len)
		need = len + 1;
	if (need > HF_COMMAND_MAX)
		return over(err, "command length", (int64_t)need, HF_COMMAND_MAX, "bytes");
	*ret_size = need;
	return HF_RESP_MORE;
}

/*
 * One or two digits and CRLF: nearly all lengths there are. Moves *at behind them; false: look
 * closer.
 */
static inline bool read_short_length(const uint8_t **at, const uint8_t *end, int64_t *ret) {
	const uint8_t *p = *at;
	if (end - p < 4)
		return false;
	uint8_t tens = (uint8_t)(p[0] - '0'), ones = (uint8_t)(p[1] - '0');
	if (tens <= 9 && p[1] == '\r' && p[2] == '\n') {
		*ret = tens;
		*at = p + 3;
		return true;
	}
	if (tens < 1 || tens > 9 || ones > 9 || p[2] != '\r' || p[3] != '\n')
		return false;
	*ret = tens * 10 + ones;
	*at = p + 4;
	return true;
}

/*
 * Reads a decimal and its CRLF at *at, and moves *at behind them. HF_RESP_COMMAND if it is all
 * there; HF_RESP_ERROR (without a text) if it is no decimal. Like Redis, takes no leading zeros
 * and no plus sign.
 */
static inline enum hf_resp_result read_length(const uint8_t **at, const uint8_t *end,
					      int64_t *ret) {
	if (read_short_length(at, end, ret))
		return HF_RESP_COMMAND;
	const uint8_t *p = *at;
	bool negative = p < end && *p == '-';
	p += negative;
	const uint8_t *digits = p;
	int64_t value = 0;
	for (; p < end && (uint8_t)(*p - '0') <= 9; p++) {
		if (p - digits == DIGITS_MAX)
			return HF_RESP_ERROR;
		value = value * 10 + (*p - '0');
	}
	size_t count = (size_t)(p - digits);
	if (count > 1 && *digits == '0')
		return HF_RESP_ERROR;
	if (p == end)
		return HF_RESP_MORE;
	if (count == 0 || *p != '\r')
		return HF_RESP_ERROR;
	if (p + 1 == end)
		return HF_RESP_MORE;
	if (p[1] != '\n')
		return HF_RESP_ERROR;
	*at = p + 2;
	*ret = negative ? -value : value;
	return HF_RESP_COMMAND;
}

static enum hf_resp_result not_a_bulk(struct hf_err *err, uint8_t got) {
	char shown[8];
	struct hf_text text = hf_text(shown, sizeof(shown));
	hf_text_add_quoted(&text, hf_span(&got, 1), 1);
	(void)hf_fail(err, HF_USAGE, "Protocol error: expected '$', got '%s'", shown);
	return HF_RESP_ERROR;
}

static enum hf_resp_result parse_array(const uint8_t *buf, size_t len,
				       struct hf_resp_command *command, size_t *ret_size,
				       struct hf_err *err) {
	const uint8_t *end = buf + len;
	const uint8_t *p = buf + 1;
	int64_t count;
	enum hf_resp_result result = read_length(&p, end, &count);
	if (result == HF_RESP_MORE)
		return more(0, len, ret_size, err);
	if (result == HF_RESP_ERROR)
		return bad(err, "invalid multibulk length");
	if (count > HF_ARGS_MAX)
		return over(err, "multibulk length", count, HF_ARGS_MAX, "strings");
	for (int64_t i = 0; i < count; i++) {
		size_t rest = (size_t)(count - i - 1) * BULK_SIZE_MIN;
		if (p == end)
			return more(len + BULK_SIZE_MIN + rest, len, ret_size, err);
		if (*p != '$')
			return not_a_bulk(err, *p);
		p++;
		int64_t size;
		result = read_length(&p, end, &size);
		if (result == HF_RESP_MORE)
			return more((size_t)(p - buf) + BULK_SIZE_MIN - 1 + rest, len, ret_size,
				    err);
		if (result == HF_RESP_ERROR || size < 0)
			return bad(err, "invalid bulk length");
		if (size > HF_BULK_MAX)
			return over(err, "bulk length", size, HF_BULK_MAX, "bytes");
		size_t need = (size_t)(p - buf) + (size_t)size + 2;
		if (need + rest > HF_COMMAND_MAX || need > len)
			return more(need + rest, len, ret_size, err);
		command->argv[i] = hf_span(p, (size_t)size);
		p += size + 2;
		if (p[-2] != '\r' || p[-1] != '\n')
			return bad(err, "expected CRLF at the end of a bulk string");
	}
	/*
	 * As in Redis, an array of no strings, or of a negative number of them, is nothing at
	 * all.
	 */
	command->argc = count > 0 ? (uint32_t)count : 0;
	*ret_size = (size_t)(p - buf);
	return HF_RESP_COMMAND;
}

static bool is_blank(uint8_t c) {
	return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';
}

static int hex_digit(uint8_t c) {
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads the escape behind a backslash at *at in double quotes, moves *at behind it. */
static uint8_t read_escape(const uint8_t **at, const uint8_t *end) {
	const uint8_t *p = *at;
	if (*p == 'x' && end - p >= 3 && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
		*at = p + 3;
		return (uint8_t)(hex_digit(p[1]) * 16 + hex_digit(p[2]));
	}
	*at = p + 1;
	switch (*p) {
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'b':
		return '\b';
	case 'a':
		return '\a';
	default:
		return *p;
	}
}

/*
 * Copies the quoted part that begins behind its opening quote at *at to *out (which is never
 * ahead of *at). False if it does not end, or something other than a blank follows its end.
 */
static bool read_quoted(const uint8_t **at, const uint8_t *end, uint8_t quote, uint8_t **out) {
	const uint8_t *p = *at;
	while (p < end && *p != quote) {
		if (quote == '"' && *p == '\\' && p + 1 < end) {
			p++;
			*(*out)++ = read_escape(&p, end);
		} else if (quote == '\'' && *p == '\\' && p + 1 < end && p[1] == '\'') {
			*(*out)++ = '\'';
			p += 2;
		} else {
			*(*out)++ = *p++;
		}
	}
	if (p == end || (p + 1 < end && !is_blank(p[1])))
		return false;
	*at = p + 1;
	return true;
}

/*
 * Splits the line as redis-cli's users know it: blanks between, "..." with escapes, '...'
 * without.
 */
static enum hf_resp_result split_line(uint8_t *line, const uint8_t *end,
				      struct hf_resp_command *command, struct hf_err *err) {
	const uint8_t *p = line;
	command->argc = 0;
	for (;;) {
		while (p < end && is_blank(*p))
			p++;
		if (p == end)
			return HF_RESP_COMMAND;
		if (command->argc == HF_ARGS_MAX)
			return over(err, "inline command", HF_ARGS_MAX + 1, HF_ARGS_MAX, "strings");
		uint8_t *start = line + (p - line);
		uint8_t *out = start;
		while (p < end && !is_blank(*p)) {
			uint8_t c = *p++;
			if (c != '"' && c != '\'')
				*out++ = c;
			else if (!read_quoted(&p, end, c, &out))
				return bad(err, "unbalanced quotes in request");
		}
		command->argv[command->argc++] = hf_span(start, (size_t)(out - start));
	}
}

static enum hf_resp_result parse_inline(uint8_t *buf, size_t len, struct hf_resp_command *command,
					size_t *ret_size, struct hf_err *err) {
	size_t window = len < HF_INLINE_MAX ? len : HF_INLINE_MAX;
	uint8_t *newline = memchr(buf, '\n', window);
	if (newline == NULL && len < HF_INLINE_MAX)
		return more(0, len, ret_size, err);
	if (newline == NULL)
		return over(err, "inline request", HF_INLINE_MAX + 1, HF_INLINE_MAX, "bytes");
	*ret_size = (size_t)(newline - buf) + 1;
	return split_line(buf, newline, command, err);
}

enum hf_resp_result hf_resp_parse(uint8_t *buf, size_t len, struct hf_resp_command *command,
				  size_t *ret_size, struct hf_err *err) {
	if (len == 0)
		return more(0, len, ret_size, err);
	if (buf[0] == '*')
		return parse_array(buf, len, command, ret_size, err);
	return parse_inline(buf, len, command, ret_size, err);
}

size_t hf_resp_quoted_line(const uint8_t *buf, size_t len) {
	size_t window = len < HF_INLINE_MAX ? len : HF_INLINE_MAX;
	const uint8_t *end = len == 0 || buf[0] == '*' ? NULL : memchr(buf, '\n', window);
	if (end == NULL)
		return 0;
	size_t line = (size_t)(end - buf);
	bool quoted = memchr(buf, '"', line) != NULL || memchr(buf, '\'', line) != NULL;
	return quoted ? line + 1 : 0;
}
