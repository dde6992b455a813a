#include "cli/deploy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/options.h"
#include "cli/text.h"
#include "engine/engine.h"
#include "machine/machine.h"

#define PATH_TEXT_MAX 4096u

static int is_contract_file(const struct dirent *entry) {
	size_t len = strlen(entry->d_name);
	return len > 4 && strcmp(entry->d_name + len - 4, ".mmd") == 0;
}

/* In `buf`, of PATH_TEXT_MAX bytes. */
static const char *path_of(const struct hf_deployment *deployment, uint32_t i, char *buf) {
	snprintf(buf, PATH_TEXT_MAX, "%s/%s", deployment->dir, deployment->entries[i]->d_name);
	return buf;
}

/* NULL with an error. A pipe that nobody writes to would be waited for. */
static FILE *open_regular(const char *path, struct hf_err *err) {
	struct stat status;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	bool known = fd >= 0 && fstat(fd, &status) == 0;
	FILE *file = known && S_ISREG(status.st_mode) ? fdopen(fd, "r") : NULL;
	if (file != NULL)
		return file;
	if (known && !S_ISREG(status.st_mode))
		(void)hf_fail(err, HF_IO, "%s is not a regular file: a contract is", path);
	else
		(void)hf_fail_sys(err, errno, "cannot read %s", path);
	if (fd >= 0)
		close(fd);
	return NULL;
}

static bool compile(const char *path, struct hf_contract **ret, struct hf_err *err) {
	uint8_t text[HF_TEXT_CONTRACT_ROOM];
	size_t len;
	struct hf_err why;
	FILE *file = open_regular(path, err);
	if (file == NULL)
		return false;
	bool read = hf_text_read_contract(file, path, text, &len, err);
	fclose(file);
	if (!read)
		return false;
	struct hf_diagnostics *diagnostics = hf_memory_new(sizeof(*diagnostics));
	if (diagnostics == NULL)
		return hf_fail(err, HF_NOMEM, "%s: out of memory", path);
	bool ok = hf_contract_compile(hf_span(text, len), path, diagnostics, ret, &why);
	hf_memory_free(diagnostics);
	if (ok)
		return true;
	if (why.status != HF_BADCONTRACT)
		return hf_fail(err, why.status, "%s: %s", path, why.text);
	/* Its text begins with the place in the file. */
	return hf_fail(err, why.status, "%s; holdfast check shows all there is to say about it",
		       why.text);
}

/* With the contract in force, and with those of the files before. `news`: see the engine. */
static bool check_contract(struct hf_engine *engine, const struct hf_deployment *deployment,
			   uint32_t i, uint32_t *news, struct hf_err *err) {
	char path[PATH_TEXT_MAX], other[PATH_TEXT_MAX];
	const struct hf_contract *contract = deployment->contracts[i];
	struct hf_err why;
	path_of(deployment, i, path);
	hf_engine_lock(engine);
	bool ok = hf_engine_contract_check(engine, contract, news, &why);
	hf_engine_unlock(engine);
	if (!ok)
		return hf_fail(err, why.status, "%s: %s", path, why.text);
	for (uint32_t j = 0; j < i; j++)
		if (deployment->contracts[j] != NULL &&
		    !hf_contract_beside(contract, deployment->contracts[j], &why))
			return hf_fail(err, why.status, "%s and %s: %s",
				       path_of(deployment, j, other), path, why.text);
	return true;
}

static bool list(const char *dir, struct hf_deployment *ret, struct hf_err *err) {
	struct dirent **entries;
	int count = scandir(dir, &entries, is_contract_file, alphasort);
	if (count < 0)
		return hf_fail_sys(err, errno, "cannot read the contracts directory %s", dir);
	*ret = (struct hf_deployment){
		.dir = dir,
		.entries = entries,
		.count = (uint32_t)count,
		.contracts = hf_memory_new(((size_t)count + 1) * sizeof(*ret->contracts)),
	};
	if (count > 0 && ret->contracts != NULL)
		return true;
	hf_deployment_free(ret);
	if (count == 0)
		return hf_fail(err, HF_NOTFOUND, "%s has no contract: no file ends in .mmd", dir);
	return hf_fail(err, HF_NOMEM, "out of memory");
}

bool hf_deployment_check(struct hf_engine *engine, const char *dir, struct hf_deployment *ret,
			 struct hf_err *err) {
	char path[PATH_TEXT_MAX];
	uint32_t news = 0;
	bool all_good = true;
	if (!list(dir, ret, err))
		return false;
	for (uint32_t i = 0; i < ret->count; i++) {
		struct hf_err why;
		if (compile(path_of(ret, i, path), &ret->contracts[i], &why) &&
		    check_contract(engine, ret, i, &news, &why))
			continue;
		if (!all_good)
			(void)hf_cli_fail("serve", err);
		*err = why;
		all_good = false;
	}
	if (!all_good)
		hf_deployment_free(ret);
	return all_good;
}

bool hf_deployment_load(struct hf_engine *engine, struct hf_deployment *deployment,
			struct hf_err *err) {
	char path[PATH_TEXT_MAX];
	uint64_t lsn = 0;
	hf_engine_lock(engine);
	for (uint32_t i = 0; i < deployment->count; i++) {
		struct hf_reply reply;
		hf_engine_contract_put(engine, deployment->contracts[i], &reply);
		deployment->contracts[i] = NULL;
		if (reply.status != HF_OK) {
			(void)hf_fail(err, reply.status, "%s: %s", path_of(deployment, i, path),
				      reply.text);
			hf_engine_unlock(engine);
			return false;
		}
		if (reply.durable_at > lsn)
			lsn = reply.durable_at;
	}
	hf_engine_flush(engine);
	hf_engine_unlock(engine);
	return hf_engine_wait(engine, lsn, err);
}

void hf_deployment_free(struct hf_deployment *deployment) {
	for (uint32_t i = 0; i < deployment->count; i++) {
		if (deployment->contracts != NULL)
			hf_contract_free(deployment->contracts[i]);
		free(deployment->entries[i]);
	}
	free(deployment->entries);
	hf_memory_free(deployment->contracts);
	*deployment = (struct hf_deployment){ 0 };
}
