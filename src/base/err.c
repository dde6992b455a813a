#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set(struct hf_err *err, enum hf_status status, const char *fmt, va_list args) {
	err->status = status;
	err->sys_errno = 0;
	vsnprintf(err->text, sizeof(err->text), fmt, args);
}

bool hf_fail(struct hf_err *err, enum hf_status status, const char *fmt, ...) {
	va_list args;
	va_start(args, fmt);
	set(err, status, fmt, args);
	va_end(args);
	return false;
}

bool hf_fail_sys(struct hf_err *err, int sys_errno, const char *fmt, ...) {
	va_list args;
	va_start(args, fmt);
	set(err, HF_IO, fmt, args);
	va_end(args);
	err->sys_errno = sys_errno;
	size_t len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror(sys_errno));
	return false;
}

bool hf_fail_file(struct hf_err *err, const char *dir, const char *name) {
	struct hf_err why = *err;
	(void)hf_fail(err, why.status, "%s/%s: %.400s", dir, name, why.text);
	err->sys_errno = why.sys_errno;
	return false;
}

const char *hf_status_name(enum hf_status status) {
	static const char *const names[] = {
		[HF_OK] = "OK",
		[HF_REFUSED] = "REFUSED",
		[HF_STALE] = "STALE",
		[HF_NOTFOUND] = "NOTFOUND",
		[HF_BADEVENT] = "BADEVENT",
		[HF_BADPARAM] = "BADPARAM",
		[HF_TOOBIG] = "TOOBIG",
		[HF_STOPPED] = "STOPPED",
		[HF_BADCONTRACT] = "BADCONTRACT",
		[HF_USAGE] = "USAGE",
		[HF_IO] = "IO",
		[HF_CORRUPT] = "CORRUPT",
		[HF_NOMEM] = "NOMEM",
	};
	return (unsigned)status < sizeof(names) / sizeof(names[0]) ? names[status] : "UNKNOWN";
}

enum hf_status hf_err_tell(const struct hf_err *err, char *text, size_t cap) {
	if (cap > 0)
		snprintf(text, cap, "%s", err->text);
	return err->status;
}
