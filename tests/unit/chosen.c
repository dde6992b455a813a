/* Each program runs all of its tests, or those whose names match its argument: 'a_segment_*'. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* glibc gives constructors what it gives main. */
static __attribute__((constructor)) void choose(int count, char **words) {
	if (count > 1)
		cmocka_set_test_filter(words[1]);
}
