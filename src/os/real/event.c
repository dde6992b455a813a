#include "os/event.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool hf_event_new(int *ret_fd, struct hf_err *err) {
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0)
		return hf_fail_sys(err, errno, "cannot make an eventfd");
	*ret_fd = fd;
	return true;
}

void hf_event_close(int fd) {
	if (fd >= 0)
		close(fd);
}

void hf_event_signal(int fd) {
	uint64_t one = 1;
	(void)!write(fd, &one, sizeof(one)); /* its counter is full: it is readable already */
}

void hf_event_clear(int fd) {
	uint64_t count;
	(void)!read(fd, &count, sizeof(count)); /* nothing there: it was clear already */
}
