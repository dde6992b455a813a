/*
 * What AddressSanitizer and libFuzzer need not do: linked into every target.
 */
#include <stdbool.h>
#include <stdint.h>

const char *__asan_default_options(void);

/*
 * Freed memory waits in a quarantine that fits the cache, and holds all that an execution frees;
 * the stack of an allocation is remembered as far as it tells which one it was.
 */
const char *__asan_default_options(void) {
	return "quarantine_size_mb=8:malloc_context_size=8";
}

/* ---- comparisons --------------------------------------------------------------------------- */

/*
 * libFuzzer keeps the last 32 comparisons of 4 and of 8 bytes, and tries in the input what was
 * compared. With UBSan nearly all of them are checks of addresses, or that something is zero: they
 * push the others out, and cost a good part of the time. So it is told only of those that it can
 * learn from (-Wl,--wrap, in meson.build).
 */
#define HOOK __attribute__((no_sanitize("address", "undefined", "coverage")))

void __real___sanitizer_cov_trace_cmp4(uint32_t a, uint32_t b);
void __wrap___sanitizer_cov_trace_cmp4(uint32_t a, uint32_t b);
void __real___sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b);
void __wrap___sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b);
void __real___sanitizer_cov_trace_const_cmp4(uint32_t constant, uint32_t b);
void __wrap___sanitizer_cov_trace_const_cmp4(uint32_t constant, uint32_t b);
void __real___sanitizer_cov_trace_const_cmp8(uint64_t constant, uint64_t b);
void __wrap___sanitizer_cov_trace_const_cmp8(uint64_t constant, uint64_t b);
void __wrap___sanitizer_cov_trace_cmp1(uint8_t a, uint8_t b);
void __wrap___sanitizer_cov_trace_cmp2(uint16_t a, uint16_t b);
void __wrap___sanitizer_cov_trace_const_cmp1(uint8_t constant, uint8_t b);
void __wrap___sanitizer_cov_trace_const_cmp2(uint16_t constant, uint16_t b);

HOOK static inline bool is_address(uint64_t value) {
	return value >> 40 != 0 && value >> 47 == 0;
}

HOOK void __wrap___sanitizer_cov_trace_cmp4(uint32_t a, uint32_t b) {
	if (a != b)
		__real___sanitizer_cov_trace_cmp4(a, b);
}

HOOK void __wrap___sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b) {
	if (a != b && !(is_address(a) && is_address(b)))
		__real___sanitizer_cov_trace_cmp8(a, b);
}

HOOK void __wrap___sanitizer_cov_trace_const_cmp4(uint32_t constant, uint32_t b) {
	if (constant != 0 && constant != b)
		__real___sanitizer_cov_trace_const_cmp4(constant, b);
}

HOOK void __wrap___sanitizer_cov_trace_const_cmp8(uint64_t constant, uint64_t b) {
	if (constant != 0 && constant != b)
		__real___sanitizer_cov_trace_const_cmp8(constant, b);
}

/* These are of use only with -use_value_profile. */
HOOK void __wrap___sanitizer_cov_trace_cmp1(uint8_t a, uint8_t b) {
}

HOOK void __wrap___sanitizer_cov_trace_cmp2(uint16_t a, uint16_t b) {
}

HOOK void __wrap___sanitizer_cov_trace_const_cmp1(uint8_t constant, uint8_t b) {
}

HOOK void __wrap___sanitizer_cov_trace_const_cmp2(uint16_t constant, uint16_t b) {
}
