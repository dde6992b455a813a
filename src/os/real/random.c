#include "os/random.h"

#include <errno.h>
#include <sys/random.h>

bool hf_random_u64(uint64_t *ret, struct hf_err *err) {
	if (getrandom(ret, sizeof(*ret), 0) != (ssize_t)sizeof(*ret))
		return hf_fail_sys(err, errno, "cannot get random bytes");
	return true;
}
