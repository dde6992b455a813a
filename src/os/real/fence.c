#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/atomic.h"

static long membarrier(int command) {
	return syscall(SYS_membarrier, command, 0, 0);
}

bool hf_fence_heavy_works(void) {
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

void hf_fence_heavy(void) {
	long result = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	HF_ASSERT(result == 0);
}
