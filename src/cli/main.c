/*
 * main.c - finds the subcommand.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/options.h"

struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
};

static const struct subcommand subcommands[] = {
	{ "serve", hf_cli_serve, "run contracts: serve a data directory to Redis clients" },
	{ "check", hf_cli_check, "check contract files, like a compiler" },
	{ "replay", hf_cli_replay, "replay a log from its first byte, and print its state hash" },
	{ "log", hf_cli_log, "dump a log, or verify every record of it" },
	{ "bench", hf_cli_bench, "measure what a disk gives, and the library on it" },
};

#define SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static void usage(FILE *to) {
	fprintf(to,
		"holdfast %s: runs state diagrams; no update is lost, doubled, torn or "
		"reordered\n\n",
		HF_VERSION);
	fprintf(to, "usage: holdfast COMMAND [ARGUMENT ...]\n\n");
	for (size_t i = 0; i < SUBCOMMANDS; i++)
		fprintf(to, "  %-8s %s\n", subcommands[i].name, subcommands[i].summary);
	fprintf(to, "\n'holdfast COMMAND --help' tells more. 'holdfast --version' prints the "
		    "version.\n");
}

/* A dump that a full disk has cut short is no success. */
static int all_written(int exit_code) {
	if (exit_code != HF_EXIT_GOOD || (fflush(stdout) == 0 && !ferror(stdout)))
		return exit_code;
	fprintf(stderr, "holdfast: the output could not be written, not all of it\n");
	return HF_EXIT_BAD;
}

/*
 * Where a standard stream is closed, the next file that is opened takes its number, and a message
 * is written into the log. Opened for reading only: what is printed there is not taken for
 * written.
 */
static bool fill_streams(void) {
	int fd;
	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	return fd >= 0 && close(fd) == 0;
}

int main(int argc, char **argv) {
	if (!fill_streams()) {
		perror("holdfast: cannot open /dev/null");
		return HF_EXIT_BAD;
	}
	const char *name = argc > 1 ? argv[1] : "";
	for (size_t i = 0; i < SUBCOMMANDS; i++)
		if (strcmp(name, subcommands[i].name) == 0)
			return all_written(subcommands[i].run(argc - 1, argv + 1));
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		usage(stdout);
		return all_written(HF_EXIT_GOOD);
	}
	if (strcmp(name, "--version") == 0) {
		printf("holdfast %s\n", HF_VERSION);
		return all_written(HF_EXIT_GOOD);
	}
	if (argc < 2) {
		usage(stderr);
		return HF_EXIT_USAGE;
	}
	const char *names[SUBCOMMANDS];
	for (size_t i = 0; i < SUBCOMMANDS; i++)
		names[i] = subcommands[i].name;
	const char *close = hf_closest(name, names, SUBCOMMANDS);
	fprintf(stderr, "holdfast: no command '%s'", name);
	if (close != NULL)
		fprintf(stderr, "; did you mean '%s'?", close);
	fprintf(stderr, "\nTry 'holdfast --help'.\n");
	return HF_EXIT_USAGE;
}
