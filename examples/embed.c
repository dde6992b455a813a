/*
 * embed.c - Holdfast inside a program: load a contract, send events, see one refused, retry one,
 * read history.
 *
 *   cc embed.c $(pkg-config --cflags --libs holdfast) -o embed && ./embed
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "holdfast.h"

static const char contract[] = "---\n"
			       "title: ticket\n"
			       "---\n"
			       "stateDiagram-v2\n"
			       "    %% field seats: u64\n"
			       "    [*] --> Held : Hold(n: u64) [n > 0 && n <= 8] / seats = n\n"
			       "    Held --> Paid : Pay\n"
			       "    Held --> Released : Release\n"
			       "    Paid --> [*]\n"
			       "    Released --> [*]\n";

static struct hf_bytes text(const char *s) {
	return (struct hf_bytes){ s, strlen(s) };
}

static void show(const char *what, const struct hf_result *result) {
	if (result->status == HF_OK)
		printf("%-22s -> %s, version %" PRIu64 ", LSN %" PRIu64 "%s\n", what, result->state,
		       result->version, result->lsn,
		       result->retried ? " (the original reply)" : "");
	else
		printf("%-22s -> %s %s\n", what, hf_status_text(result->status), result->text);
}

static enum hf_status send_event(struct hf_db *db, const char *event, const char *seats,
				 const char *id) {
	struct hf_pair param = { text("n"), text(seats == NULL ? "" : seats) };
	struct hf_request request = {
		.contract = text("ticket"),
		.key = text("A-17"),
		.event = text(event),
		.params = &param,
		.param_count = seats != NULL,
		.id = text(id),
	};
	struct hf_result result;
	enum hf_status status = hf_send(db, &request, &result);
	show(event, &result);
	return status;
}

static void print_field(void *arg, struct hf_bytes name, struct hf_bytes value) {
	printf("  %.*s = %.*s\n", (int)name.len, (const char *)name.data, (int)value.len,
	       (const char *)value.data);
}

static void print_past(void *arg, const struct hf_past *past) {
	printf("  version %" PRIu64 ": %.*s, id %.*s\n", past->version, (int)past->event.len,
	       (const char *)past->event.data, (int)past->id.len, (const char *)past->id.data);
}

static void completed(void *arg, const struct hf_result *result) {
	show("Release (submitted)", result);
}

int main(int argc, char **argv) {
	char err[256];
	struct hf_db *db;
	struct hf_result result;
	struct hf_options options = { .data_dir = argc > 1 ? argv[1] : "embed-data" };
	if (hf_open(&options, &db, err, sizeof(err)) != HF_OK) {
		fprintf(stderr, "embed: %s\n", err);
		return 1;
	}
	if (hf_load_contract(db, text(contract), "ticket", &result) != HF_OK) {
		fprintf(stderr, "embed: %s\n", result.text);
		return 1;
	}

	bool good = send_event(db, "Hold", "2", "hold-1") == HF_OK;
	good &= send_event(db, "Hold", "2", "hold-1") == HF_OK;	     /* a retry: applied once */
	good &= send_event(db, "Hold", "3", "hold-2") == HF_REFUSED; /* it is held already */
	good &= send_event(db, "Pay", NULL, "pay-1") == HF_OK;

	struct hf_request release = { .contract = text("ticket"),
				      .key = text("A-17"),
				      .event = text("Release") };
	good &= hf_submit(db, &release, completed, NULL) == HF_REFUSED; /* paid is paid */
	hf_drain(db);

	hf_get(db, text("ticket"), text("A-17"), print_field, NULL, &result);
	show("now", &result);
	hf_history(db, text("ticket"), text("A-17"), 1, 100, print_past, NULL, &result);

	uint8_t hash[16];
	hf_hash(db, hash, &result);
	printf("state hash ");
	for (size_t i = 0; i < sizeof(hash); i++)
		printf("%02x", hash[i]);
	printf(" at LSN %" PRIu64 "\n", result.lsn);
	if (hf_close(db, err, sizeof(err)) != HF_OK) {
		fprintf(stderr, "embed: %s\n", err);
		return 1;
	}
	return good ? 0 : 1;
}
