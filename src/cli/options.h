/*
 * options.h - command-line options: `--name`, `--name VALUE` or `--name=VALUE`, anywhere among the
 * operands. What stands behind `--` is an operand, whatever it looks like.
 */
#ifndef HF_CLI_OPTIONS_H
#define HF_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hf_option {
	const char *name;   /* with its dashes */
	const char **value; /* gets the value; NULL: a flag */
	bool *flag;	    /* set if it is given; may be NULL */
};

/*
 * Takes the options out of argv[1..], which is left with the operands; `ret_operands` counts them.
 * `--help` prints `help` on stdout and sets `ret_help`. False (HF_USAGE): what is wrong (an operand
 * or a value that is empty is), with the option that may have been meant.
 */
HF_MUST bool hf_options_parse(int argc, char **argv, const struct hf_option *options,
			      size_t option_count, const char *help, int *ret_operands,
			      bool *ret_help, struct hf_err *err);

/* The name that a mistyped one is closest to; NULL if none is close. */
const char *hf_closest(const char *typed, const char *const *names, size_t count);

/* A whole number, plain decimal. */
HF_MUST bool hf_option_u64(const char *option, const char *value, uint64_t *ret,
			   struct hf_err *err);

/* Prints "holdfast NAME: message" as hf_text_show does, and returns the exit code for it. */
int hf_cli_fail(const char *subcommand, const struct hf_err *err);

#endif
