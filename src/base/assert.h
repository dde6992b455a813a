/*
 * assert.h - asserts that stay on in release. For invariants only: bad input is never an assert.
 */
#ifndef HF_BASE_ASSERT_H
#define HF_BASE_ASSERT_H

#define HF_ASSERT(condition) \
	(__builtin_expect(!!(condition), 1) ? (void)0 \
					    : hf_assert_failed(#condition, __FILE__, __LINE__))

/* Prints the condition and its place on stderr, then aborts. */
_Noreturn void hf_assert_failed(const char *condition, const char *file, int line);

#endif
