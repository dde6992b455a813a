/*
 * check.c - `holdfast check FILE...`: the contract checker, with messages like a good compiler's.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/text.h"
#include "machine/machine.h"

static const char help[] =
	"usage: holdfast check FILE... [--json]\n"
	"\n"
	"Checks contracts: Mermaid state diagrams with guards, effects and fields. - reads "
	"standard input, which needs\n"
	"a title, as HF.CONTRACT LOAD does.\n"
	"\n"
	"  --json  print one JSON object with every diagnostic, and what each good contract means\n"
	"\n"
	"Exits 0 if there are no errors (there may be warnings), 1 if there are, 2 on wrong "
	"usage.\n";

#define LINE_SHOWN_MAX 200u /* bytes of a source line */

/* One run over all files. */
struct check {
	bool json;
	bool colours;
	uint32_t files, errors, warnings;
	uint8_t text[HF_TEXT_CONTRACT_ROOM]; /* of the file under way */
	size_t text_len;
	struct hf_diagnostics diagnostics;
};

/* ---- reading ---- */

static bool read_file(struct check *check, const char *name, struct hf_err *err) {
	bool is_stdin = strcmp(name, "-") == 0;
	FILE *file = is_stdin ? stdin : fopen(name, "rb");
	if (file == NULL)
		return hf_fail_sys(err, errno, "%s", name);
	bool ok = hf_text_read_contract(file, name, check->text, &check->text_len, err);
	if (!is_stdin)
		fclose(file);
	return ok;
}

/* ---- for people ---- */

static const char *colour(const struct check *check, const char *code) {
	return check->colours ? code : "";
}

#define RED "\033[1;31m"
#define YELLOW "\033[1;33m"
#define GREEN "\033[1;32m"
#define BOLD "\033[1m"
#define PLAIN "\033[0m"

/* The line `number` of the text, without its end. */
static struct hf_span source_line(const struct check *check, uint32_t number) {
	size_t start = 0, end;
	for (uint32_t line = 1; line < number && start < check->text_len; start++) {
		bool crlf = check->text[start] == '\r' && start + 1 < check->text_len &&
			    check->text[start + 1] == '\n';
		line += check->text[start] == '\n' || (check->text[start] == '\r' && !crlf);
	}
	for (end = start;
	     end < check->text_len && check->text[end] != '\n' && check->text[end] != '\r';)
		end++;
	return hf_span(check->text + start, end - start);
}

/* The source line, and under it a mark from the column on. */
static void print_source(const struct check *check, const struct hf_diagnostic *diagnostic) {
	struct hf_span line = source_line(check, diagnostic->line);
	size_t first = diagnostic->column > LINE_SHOWN_MAX / 2
			       ? diagnostic->column - LINE_SHOWN_MAX / 2
			       : 0;
	size_t end = line.len - first < LINE_SHOWN_MAX ? line.len : first + LINE_SHOWN_MAX;
	size_t marked = diagnostic->column - 1, marked_end = marked + diagnostic->length;
	if (first > line.len)
		return;
	fprintf(stderr, "%5" PRIu32 " | ", diagnostic->line);
	hf_text_show(stderr, hf_span(line.data + first, end - first));
	fprintf(stderr, "\n      | ");
	for (size_t i = first; i < marked; i++)
		if (i >= line.len || !hf_text_continues(line.data[i]))
			fputc(i < line.len && line.data[i] == '\t' ? '\t' : ' ', stderr);
	fputs(colour(check, GREEN), stderr);
	for (size_t i = marked; i < marked_end && (i == marked || i < end); i++)
		if (i >= line.len || i == marked || !hf_text_continues(line.data[i]))
			fputc(i == marked ? '^' : '~', stderr);
	fprintf(stderr, "%s\n", colour(check, PLAIN));
}

static void print_diagnostic(const struct check *check, const char *name,
			     const struct hf_diagnostic *diagnostic) {
	bool error = diagnostic->severity == HF_SEVERITY_ERROR;
	fputs(colour(check, BOLD), stderr);
	hf_text_show(stderr, hf_span_of(name));
	fprintf(stderr, ":%" PRIu32 ":%" PRIu32 ":%s %s%s:%s ", diagnostic->line,
		diagnostic->column, colour(check, PLAIN), colour(check, error ? RED : YELLOW),
		error ? "error" : "warning", colour(check, PLAIN));
	hf_text_show(stderr, hf_span_of(diagnostic->message));
	fprintf(stderr, " [%s]\n", diagnostic->code);
	print_source(check, diagnostic);
	if (diagnostic->help[0] == '\0')
		return;
	fputs("      = help: ", stderr);
	hf_text_show(stderr, hf_span_of(diagnostic->help));
	fputc('\n', stderr);
}

static const char *plural(uint32_t count) {
	return count == 1 ? "" : "s";
}

static void print_people(const struct check *check, const char *name,
			 const struct hf_contract *contract) {
	const struct hf_diagnostics *all = &check->diagnostics;
	for (uint32_t i = 0; i < all->count; i++)
		print_diagnostic(check, name, &all->items[i]);
	uint32_t found = all->error_count + all->warning_count;
	if (found > all->count) {
		hf_text_show(stderr, hf_span_of(name));
		fprintf(stderr, ": and %" PRIu32 " more\n", found - all->count);
	}
	if (contract == NULL)
		return;
	uint32_t states = contract->state_count - 1u, events = contract->event_count;
	uint32_t fields = contract->field_count;
	hf_text_show(stdout, hf_span_of(name));
	printf(": %s version %" PRIu64 ": %" PRIu32 " state%s, %" PRIu32 " event%s, %" PRIu32
	       " field%s, ok\n",
	       contract->name, contract->version, states, plural(states), events, plural(events),
	       fields, plural(fields));
}

/* ---- for programs ---- */

static void print_member(const char *name, struct hf_span value) {
	printf("\"%s\":", name);
	hf_text_json(value);
}

static void print_typed(const char *name, enum hf_type type, uint8_t bytes_max) {
	char buf[16];
	putchar('{');
	print_member("name", hf_span_of(name));
	printf(",\"type\":\"%s\"}", hf_type_text(type, bytes_max, buf));
}

static const char *comma(uint32_t index) {
	return index == 0 ? "" : ",";
}

static void print_drawing(const struct hf_contract *contract) {
	static const char *const kinds[] = { "state", "composite", "choice" };
	uint32_t count;
	const struct hf_drawn_state *states = hf_contract_drawn_states(contract, &count);
	printf(",\"drawn\":{\"states\":[");
	for (uint32_t i = 0; i < count; i++) {
		printf("%s{\"kind\":\"%s\",\"line\":%" PRIu32 ",", comma(i), kinds[states[i].kind],
		       states[i].line);
		print_member("name", states[i].name);
		putchar(',');
		print_member("within", states[i].within);
		putchar('}');
	}
	const struct hf_drawn_arc *arcs = hf_contract_drawn_arcs(contract, &count);
	printf("],\"transitions\":[");
	for (uint32_t i = 0; i < count; i++) {
		printf("%s{\"line\":%" PRIu32 ",", comma(i), arcs[i].line);
		print_member("from", arcs[i].from);
		putchar(',');
		print_member("to", arcs[i].to);
		putchar(',');
		print_member("label", arcs[i].label);
		putchar(',');
		print_member("within", arcs[i].within);
		putchar('}');
	}
	printf("]}");
}

static void print_events(const struct hf_contract *contract) {
	printf(",\"events\":[");
	for (uint32_t i = 0; i < contract->event_count; i++) {
		const struct hf_event *event = &contract->events[i];
		printf("%s{", comma(i));
		print_member("name", hf_span_of(event->name));
		printf(",\"params\":[");
		for (uint32_t j = 0; j < event->param_count; j++) {
			fputs(comma(j), stdout);
			print_typed(event->params[j].name, event->params[j].type,
				    event->params[j].bytes_max);
		}
		printf("]}");
	}
	putchar(']');
}

static void print_contract(const struct hf_contract *contract) {
	putchar(',');
	print_member("name", hf_span_of(contract->name));
	printf(",\"version\":%" PRIu64 ",\"hash\":\"", contract->version);
	hf_text_hex(hf_span(contract->hash, sizeof(contract->hash)));
	printf("\",");
	print_member("initial", hf_span_of(contract->states[contract->initial].name));
	printf(",\"states\":[");
	for (uint32_t i = 1; i < contract->state_count; i++) {
		printf("%s{", comma(i - 1));
		print_member("name", hf_span_of(contract->states[i].name));
		printf(",\"final\":%s}", contract->states[i].final ? "true" : "false");
	}
	putchar(']');
	print_events(contract);
	printf(",\"fields\":[");
	for (uint32_t i = 0; i < contract->field_count; i++) {
		fputs(comma(i), stdout);
		print_typed(contract->fields[i].name, contract->fields[i].type,
			    contract->fields[i].bytes_max);
	}
	printf("],\"invariants\":[");
	for (uint32_t i = 0; i < hf_contract_invariant_count(contract); i++) {
		fputs(comma(i), stdout);
		hf_text_json(hf_contract_invariant(contract, i));
	}
	printf("],\"transitions\":[");
	for (uint32_t i = 0; i < contract->transition_count; i++) {
		const struct hf_transition *transition = &contract->transitions[i];
		printf("%s{\"line\":%" PRIu32 ",", comma(i), transition->line);
		print_member("from", hf_span_of(contract->states[transition->from].name));
		putchar(',');
		print_member("event", hf_span_of(contract->events[transition->event].name));
		putchar(',');
		print_member("to", hf_span_of(contract->states[transition->to].name));
		putchar('}');
	}
	putchar(']');
	print_drawing(contract);
}

static void print_json(const struct check *check, const char *name,
		       const struct hf_contract *contract, const struct hf_err *unreadable) {
	const struct hf_diagnostics *all = &check->diagnostics;
	printf("%s{", comma(check->files - 1));
	print_member("file", hf_span_of(name));
	printf(",\"ok\":%s", contract != NULL ? "true" : "false");
	if (contract != NULL)
		print_contract(contract);
	printf(",\"diagnostics\":[");
	if (unreadable != NULL) {
		printf("{\"severity\":\"error\",\"code\":\"io\",\"line\":0,\"column\":0,\"length\":"
		       "0,");
		print_member("message", hf_span_of(unreadable->text));
		printf(",\"help\":\"\"}");
	}
	for (uint32_t i = 0; i < all->count; i++) {
		const struct hf_diagnostic *item = &all->items[i];
		printf("%s{\"severity\":\"%s\",\"code\":\"%s\",\"line\":%" PRIu32
		       ",\"column\":%" PRIu32 ",\"length\":%" PRIu32 ",",
		       comma(i), item->severity == HF_SEVERITY_ERROR ? "error" : "warning",
		       item->code, item->line, item->column, item->length);
		print_member("message", hf_span_of(item->message));
		putchar(',');
		print_member("help", hf_span_of(item->help));
		putchar('}');
	}
	printf("]}");
}

/* ---- the run ---- */

static void check_file(struct check *check, const char *name) {
	struct hf_contract *contract = NULL;
	struct hf_err err;
	bool is_stdin = strcmp(name, "-") == 0;
	/* No name, as what comes over the wire has none: every server wants a title then. */
	const char *shown = is_stdin ? "<stdin>" : name;
	memset(&check->diagnostics, 0, sizeof(check->diagnostics));
	check->files++;
	bool read = read_file(check, name, &err);
	bool good = read && hf_contract_compile(hf_span(check->text, check->text_len), shown,
						&check->diagnostics, &contract, &err);
	bool silent = !good && check->diagnostics.error_count == 0; /* not the text's fault */
	check->errors += check->diagnostics.error_count + silent;
	check->warnings += check->diagnostics.warning_count;
	if (check->json)
		print_json(check, shown, contract, silent ? &err : NULL);
	else
		print_people(check, shown, contract);
	if (silent && !check->json)
		(void)hf_cli_fail("check", &err);
	hf_contract_free(contract);
}

static void print_summary(const struct check *check) {
	if (check->json) {
		printf("],\"errors\":%" PRIu32 ",\"warnings\":%" PRIu32 "}\n", check->errors,
		       check->warnings);
		return;
	}
	if (check->errors + check->warnings > 0)
		fprintf(stderr,
			"%" PRIu32 " error%s and %" PRIu32 " warning%s in %" PRIu32 " file%s\n",
			check->errors, plural(check->errors), check->warnings,
			plural(check->warnings), check->files, plural(check->files));
}

int hf_cli_check(int argc, char **argv) {
	bool json = false, helped;
	int operands;
	struct hf_err err;
	const struct hf_option options[] = { { "--json", NULL, &json } };
	if (!hf_options_parse(argc, argv, options, 1, help, &operands, &helped, &err))
		return hf_cli_fail("check", &err);
	if (helped)
		return HF_EXIT_GOOD;
	if (operands == 0) {
		(void)hf_fail(&err, HF_USAGE, "which file? usage: holdfast check FILE... [--json]");
		return hf_cli_fail("check", &err);
	}
	struct check *check = hf_memory_new(sizeof(*check));
	if (check == NULL) {
		(void)hf_fail(&err, HF_NOMEM, "out of memory");
		return hf_cli_fail("check", &err);
	}
	check->json = json;
	check->colours = !json && isatty(STDERR_FILENO) && getenv("NO_COLOR") == NULL;
	if (json)
		printf("{\"files\":[");
	for (int i = 1; i <= operands; i++)
		check_file(check, argv[i]);
	print_summary(check);
	int ret = check->errors > 0 ? HF_EXIT_BAD : HF_EXIT_GOOD;
	hf_memory_free(check);
	return ret;
}
