#include "cli/text.h"

#include <errno.h>

bool hf_text_read_contract(FILE *file, const char *path, uint8_t *buf, size_t *ret_len,
			   struct hf_err *err) {
	*ret_len = fread(buf, 1, HF_TEXT_CONTRACT_ROOM, file);
	return !ferror(file) || hf_fail_sys(err, errno, "cannot read %s", path);
}

/* The length of the well-formed UTF-8 character at `text`, or 0. */
static size_t character_length(struct hf_span text) {
	uint8_t c = text.data[0];
	size_t len = c < 0x80		     ? 1
		     : c >= 0xc2 && c < 0xe0 ? 2
		     : c >= 0xe0 && c < 0xf0 ? 3
		     : c >= 0xf0 && c < 0xf5 ? 4
					     : 0;
	if (len == 0 || len > text.len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if (!hf_text_continues(text.data[i]))
			return 0;
	bool overlong = (c == 0xe0 && text.data[1] < 0xa0) || (c == 0xf0 && text.data[1] < 0x90);
	bool beyond = (c == 0xed && text.data[1] > 0x9f) || (c == 0xf4 && text.data[1] > 0x8f);
	return overlong || beyond ? 0 : len;
}

bool hf_text_is_utf8(struct hf_span text) {
	size_t len = 1;
	for (size_t at = 0; at < text.len && len > 0; at += len)
		len = character_length(hf_span(text.data + at, text.len - at));
	return len > 0;
}

void hf_text_json(struct hf_span text) {
	putchar('"');
	while (text.len > 0) {
		size_t len = character_length(text);
		uint8_t c = text.data[0];
		if (len == 0)
			fputs("\\ufffd", stdout);
		else if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ' || c == 0x7f)
			printf("\\u%04x", c);
		else
			fwrite(text.data, 1, len, stdout);
		len = len == 0 ? 1 : len;
		text = hf_span(text.data + len, text.len - len);
	}
	putchar('"');
}

void hf_text_hex(struct hf_span bytes) {
	for (size_t i = 0; i < bytes.len; i++)
		printf("%02x", bytes.data[i]);
}

void hf_text_show(FILE *to, struct hf_span text) {
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];
		/* U+0080 to U+009F, of two bytes, begin with c2. */
		bool high = c == 0xc2 && i + 1 < text.len && text.data[i + 1] >= 0x80 &&
			    text.data[i + 1] < 0xa0;
		fputc((c < ' ' && c != '\t') || c == 0x7f || high ? '?' : c, to);
		i += high;
	}
}
