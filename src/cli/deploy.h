/*
 * deploy.h - the contracts of a directory, all or none: what is wrong with any of them is found
 * before the first is logged.
 */
#ifndef HF_CLI_DEPLOY_H
#define HF_CLI_DEPLOY_H

#include <stdint.h>

#include "base/err.h"

struct hf_contract;
struct hf_engine;

struct hf_deployment {
	const char *dir;
	struct dirent **entries;	/* its *.mmd, in name order */
	struct hf_contract **contracts; /* of each; NULL: it is wrong, or the engine's by now */
	uint32_t count;
};

/*
 * Compiles every *.mmd of `dir`, which is kept, and asks whether the engine would take it. Prints
 * each error but the last, which is left to the caller. Freed with hf_deployment_free.
 */
HF_MUST bool hf_deployment_check(struct hf_engine *engine, const char *dir,
				 struct hf_deployment *ret, struct hf_err *err);
/* Loads them, and waits until they are durable. */
HF_MUST bool hf_deployment_load(struct hf_engine *engine, struct hf_deployment *deployment,
				struct hf_err *err);
void hf_deployment_free(struct hf_deployment *deployment); /* zeros are fine */

#endif
