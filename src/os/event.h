/*
 * event.h - an eventfd: what one thread signals and another one waits for with epoll.
 */
#ifndef HF_OS_EVENT_H
#define HF_OS_EVENT_H

#include "base/err.h"

/* Closed with hf_event_close. */
HF_MUST bool hf_event_new(int *ret_fd, struct hf_err *err);
void hf_event_close(int fd); /* -1 is fine */
/* Makes it readable. Any thread. */
void hf_event_signal(int fd);
/* Makes it unreadable again. */
void hf_event_clear(int fd);

#endif
