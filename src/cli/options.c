#include "cli/options.h"

#include <stdio.h>
#include <string.h>

#include "base/span.h"
#include "cli/cli.h"
#include "cli/text.h"

#define WORD_MAX 32u

/* Levenshtein distance; words longer than WORD_MAX are far from everything. */
static size_t distance(const char *a, const char *b) {
	size_t a_len = strlen(a), b_len = strlen(b);
	size_t row[WORD_MAX + 1];
	if (a_len > WORD_MAX || b_len > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);
			size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best < change ? best : change;
		}
	}
	return row[b_len];
}

const char *hf_closest(const char *typed, const char *const *names, size_t count) {
	const char *best = NULL;
	size_t best_distance = strlen(typed) / 3 + 2;
	for (size_t i = 0; i < count; i++) {
		size_t d = distance(typed, names[i]);
		if (d < best_distance) {
			best = names[i];
			best_distance = d;
		}
	}
	return best;
}

static bool unknown(const char *word, const struct hf_option *options, size_t option_count,
		    struct hf_err *err) {
	const char *names[WORD_MAX];
	size_t count = option_count < WORD_MAX ? option_count : WORD_MAX;
	for (size_t i = 0; i < count; i++)
		names[i] = options[i].name;
	const char *close = hf_closest(word, names, count);
	return hf_fail(err, HF_USAGE, "unknown option '%s'%s%s%s; try --help", word,
		       close != NULL ? "; did you mean '" : "", close != NULL ? close : "",
		       close != NULL ? "'?" : "");
}

static const struct hf_option *find(const char *word, size_t len, const struct hf_option *options,
				    size_t count) {
	for (size_t i = 0; i < count; i++)
		if (strlen(options[i].name) == len && memcmp(options[i].name, word, len) == 0)
			return &options[i];
	return NULL;
}

bool hf_options_parse(int argc, char **argv, const struct hf_option *options, size_t option_count,
		      const char *help, int *ret_operands, bool *ret_help, struct hf_err *err) {
	int operands = 0;
	bool ended = false;
	*ret_help = false;
	for (int i = 1; i < argc; i++) {
		char *word = argv[i];
		if (word[0] == '\0')
			return hf_fail(err, HF_USAGE, "an argument is empty; try --help");
		if (ended || word[0] != '-' || word[1] == '\0') {
			argv[++operands] = word;
			continue;
		}
		if (strcmp(word, "--") == 0) {
			ended = true;
			continue;
		}
		if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
			fputs(help, stdout);
			*ret_help = true;
			return true;
		}
		const char *equals = strchr(word, '=');
		size_t len = equals != NULL ? (size_t)(equals - word) : strlen(word);
		const struct hf_option *option = find(word, len, options, option_count);
		if (option == NULL)
			return unknown(word, options, option_count, err);
		if (option->value == NULL && equals != NULL)
			return hf_fail(err, HF_USAGE, "%s takes no value", option->name);
		if (option->value != NULL && equals == NULL && i + 1 == argc)
			return hf_fail(err, HF_USAGE, "%s needs a value", option->name);
		if (option->value != NULL)
			*option->value = equals != NULL ? equals + 1 : argv[++i];
		if (option->value != NULL && (*option->value)[0] == '\0')
			return hf_fail(err, HF_USAGE, "%s is empty; try --help", option->name);
		if (option->flag != NULL)
			*option->flag = true;
	}
	*ret_operands = operands;
	return true;
}

bool hf_option_u64(const char *option, const char *value, uint64_t *ret, struct hf_err *err) {
	return hf_span_u64(hf_span_of(value), ret) ||
	       hf_fail(err, HF_USAGE, "%s %s: a whole number is wanted", option, value);
}

int hf_cli_fail(const char *subcommand, const struct hf_err *err) {
	fprintf(stderr, "holdfast %s: ", subcommand);
	hf_text_show(stderr, hf_span_of(err->text));
	fputc('\n', stderr);
	return err->status == HF_USAGE ? HF_EXIT_USAGE : HF_EXIT_BAD;
}
