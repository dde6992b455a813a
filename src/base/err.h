/*
 * err.h - the one error idiom.
 *
 * A function that can fail returns bool, is marked HF_MUST, and takes a `struct hf_err *` last:
 * false means that it failed, changed nothing, and said why in the error. The text is one line,
 * says what was wrong, where, and what would be right.
 */
#ifndef HF_BASE_ERR_H
#define HF_BASE_ERR_H

#include <stdbool.h>

#include "holdfast.h"
#include "base/limits.h"

#define HF_MUST __attribute__((warn_unused_result))
#define HF_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

struct hf_err {
	enum hf_status status;
	int sys_errno; /* where the operating system refused; otherwise 0 */
	char text[HF_ERR_TEXT_MAX];
};

/* Fills `err` and returns false, so that a failing function ends in `return hf_fail(...)`. */
bool hf_fail(struct hf_err *err, enum hf_status status, const char *fmt, ...) HF_PRINTF(3, 4);

/* As hf_fail, with strerror(sys_errno) appended. */
bool hf_fail_sys(struct hf_err *err, int sys_errno, const char *fmt, ...) HF_PRINTF(3, 4);

/* Puts the file's name before an error of reading or writing it. Returns false. */
bool hf_fail_file(struct hf_err *err, const char *dir, const char *name);

/* For the public API: the error's text into `text` (of `cap` bytes), its status returned. */
enum hf_status hf_err_tell(const struct hf_err *err, char *text, size_t cap);

/* The first word on the wire and in logs: "REFUSED", "STALE", ... */
const char *hf_status_name(enum hf_status status);

#endif
