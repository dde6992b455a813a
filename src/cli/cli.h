/*
 * cli.h - the subcommands, one file each. Data on stdout, messages on stderr; they return the exit
 * code.
 */
#ifndef HF_CLI_H
#define HF_CLI_H

#include <stdint.h>

#define HF_EXIT_GOOD 0
#define HF_EXIT_BAD 1
#define HF_EXIT_USAGE 2

/* argv[0] is the subcommand's name. */
int hf_cli_bench(int argc, char **argv);
int hf_cli_check(int argc, char **argv);
int hf_cli_log(int argc, char **argv);
int hf_cli_replay(int argc, char **argv);
int hf_cli_serve(int argc, char **argv);

#endif
