/*
 * version.h - the Redis whose behaviour on the wire is followed (private to src/server).
 */
#ifndef HF_SERVER_VERSION_H
#define HF_SERVER_VERSION_H

#define HF_REDIS_VERSION "7.0.15"

#endif
