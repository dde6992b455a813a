/*
 * The bodies of plain keys' and contracts' records (src/engine/record.c): what is put is got, no
 * sector of a plain key's is all zeros, and what no writer makes is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/record.h"

#define PIECE 255u /* the longest piece of a value */

struct buffers {
	uint8_t key[HF_KEY_MAX], value[HF_PLAIN_VALUE_MAX];
	uint8_t body[HF_RECORD_MAX];
	size_t body_len;
	uint8_t got[HF_PLAIN_VALUE_MAX];
	size_t got_len;
};

static int set_up(void **state) {
	*state = calloc(1, sizeof(struct buffers));
	return *state == NULL ? -1 : 0;
}

static int tear_down(void **state) {
	free(*state);
	return 0;
}

static void put(struct buffers *b, size_t key_len, size_t value_len) {
	size_t max = hf_set_body_max(key_len, value_len);
	assert_true(max <= sizeof(b->body));
	b->body_len = hf_set_body_put(hf_span(b->key, key_len), hf_span(b->value, value_len),
				      b->body, max);
	assert_int_equal(b->body_len, max);
}

/* From memory of just this length, so that AddressSanitizer sees who reads behind it. */
static bool get(struct buffers *b, size_t body_len, size_t *ret_key_len) {
	uint8_t *body = malloc(body_len);
	struct hf_span key;
	memcpy(body, b->body, body_len);
	bool is = hf_set_body_get(hf_span(body, body_len), &key, b->got, &b->got_len);
	if (is) {
		*ret_key_len = key.len;
		assert_memory_equal(key.data, b->key, key.len);
	}
	free(body);
	return is;
}

static void what_is_put_is_got(void **state) {
	struct buffers *b = *state;
	const size_t key_lens[] = { 1, 2, 254, HF_KEY_MAX };
	const size_t ends[] = { 600, HF_PLAIN_VALUE_MAX - 256, HF_PLAIN_VALUE_MAX };
	for (size_t i = 0; i < sizeof(b->value); i++)
		b->value[i] = (uint8_t)(i * 2654435761u >> 13);
	memset(b->key, 'k', sizeof(b->key));
	for (size_t k = 0; k < 4; k++)
		for (size_t len = 0; len <= HF_PLAIN_VALUE_MAX; len++) {
			size_t key_len;
			if (len == ends[0])
				len = ends[1]; /* all the short ones, and the longest */
			put(b, key_lens[k], len);
			assert_true(get(b, b->body_len, &key_len));
			assert_int_equal(key_len, key_lens[k]);
			assert_int_equal(b->got_len, len);
			assert_memory_equal(b->got, b->value, len);
		}
}

static size_t longest_run_of_zeros(const uint8_t *bytes, size_t len) {
	size_t longest = 0, run = 0;
	for (size_t i = 0; i < len; i++) {
		run = bytes[i] == 0 ? run + 1 : 0;
		longest = run > longest ? run : longest;
	}
	return longest;
}

/* The log takes a sector of zeros for one that was never written: src/log/append.c. */
static void no_sector_is_all_zeros(void **state) {
	struct buffers *b = *state;
	for (size_t key_len = 1; key_len <= HF_KEY_MAX; key_len += 127)
		for (size_t len = 0; len <= 3 * HF_SECTOR; len++) {
			put(b, key_len, len);
			assert_true(longest_run_of_zeros(b->body, b->body_len) < HF_SECTOR);
		}
	put(b, HF_KEY_MAX, HF_PLAIN_VALUE_MAX);
	assert_true(longest_run_of_zeros(b->body, b->body_len) < HF_SECTOR);
	/* Zeros that begin anywhere, behind other bytes. */
	for (size_t from = 0; from < 2 * HF_SECTOR; from++) {
		memset(b->value, 'v', from);
		put(b, 1, 4 * HF_SECTOR);
		assert_true(longest_run_of_zeros(b->body, b->body_len) < HF_SECTOR);
	}
	/* Of many keys of zeros that are deleted, too. */
	size_t len = 0;
	for (size_t i = 0; i < 16; i++)
		len += hf_delete_body_put(hf_span(b->key, HF_KEY_MAX), b->body + len,
					  sizeof(b->body) - len);
	assert_int_equal(len, 16 * (1 + HF_KEY_MAX));
	assert_true(longest_run_of_zeros(b->body, len) < HF_SECTOR);
}

/* The record says where its body ends: one cut behind a full piece is that of a shorter value. */
static void a_cut_body_is_refused(void **state) {
	struct buffers *b = *state;
	const size_t key_len = 3, value_len = 4 * PIECE + 7;
	memset(b->key, 'k', key_len);
	memset(b->value, 'v', value_len);
	put(b, key_len, value_len);
	for (size_t cut = 0; cut < b->body_len; cut++) {
		size_t got_key_len, in_value = cut - 1 - key_len;
		bool behind_a_piece = cut > key_len && in_value % (1 + PIECE) == 0;
		assert_int_equal(get(b, cut, &got_key_len), behind_a_piece);
		if (behind_a_piece) {
			assert_int_equal(got_key_len, key_len);
			assert_int_equal(b->got_len, in_value / (1 + PIECE) * PIECE);
		}
	}
}

/* Lays down a body by hand: the key's length, one key byte if it has any, then pieces. */
static bool takes(struct buffers *b, uint8_t key_len, const size_t *pieces, size_t count) {
	size_t got_key_len, len = 0;
	memset(b->body, 'k', sizeof(b->body));
	b->body[len++] = key_len;
	len += key_len;
	for (size_t i = 0; i < count; i++) {
		b->body[len] = (uint8_t)pieces[i];
		len += 1 + pieces[i];
	}
	memset(b->key, 'k', sizeof(b->key));
	return get(b, len, &got_key_len);
}

static void bad_pieces_are_refused(void **state) {
	struct buffers *b = *state;
	assert_true(takes(b, 1, (size_t[]){ PIECE, PIECE, 1 }, 3));
	assert_true(takes(b, 1, (size_t[]){ PIECE, PIECE }, 2));
	assert_true(takes(b, 1, NULL, 0));
	assert_false(takes(b, 0, NULL, 0));
	assert_false(takes(b, 0, (size_t[]){ 1 }, 1));
	assert_false(takes(b, 1, (size_t[]){ 0 }, 1));
	assert_false(takes(b, 1, (size_t[]){ PIECE, 0 }, 2));
	assert_false(takes(b, 1, (size_t[]){ PIECE, 0, 1 }, 3));
	assert_false(takes(b, 1, (size_t[]){ 254, 1 }, 2));
	assert_false(takes(b, 1, (size_t[]){ 1, PIECE }, 2));
	assert_false(takes(b, 1, (size_t[]){ PIECE, 254, 254 }, 3));
}

/* One byte more than a value may have would be written behind `got`. */
static void a_value_that_is_too_long_is_refused(void **state) {
	struct buffers *b = *state;
	size_t pieces[HF_PLAIN_VALUE_MAX / PIECE + 2], count = 0;
	for (size_t left = HF_PLAIN_VALUE_MAX; left > 0; left -= pieces[count++])
		pieces[count] = left < PIECE ? left : PIECE;
	assert_true(takes(b, HF_KEY_MAX, pieces, count));
	assert_int_equal(b->got_len, HF_PLAIN_VALUE_MAX);
	pieces[count - 1]++;
	assert_false(takes(b, HF_KEY_MAX, pieces, count));
	pieces[count - 1] = PIECE;
	assert_false(takes(b, HF_KEY_MAX, pieces, count));
}

static void keys_that_go_are_got(void **state) {
	struct buffers *b = *state;
	size_t len = 0, ends[3];
	const size_t key_lens[] = { 1, HF_KEY_MAX, 7 };
	memset(b->key, 'k', sizeof(b->key));
	for (size_t i = 0; i < 3; i++) {
		len += hf_delete_body_put(hf_span(b->key, key_lens[i]), b->body + len,
					  sizeof(b->body) - len);
		ends[i] = len;
	}
	for (size_t cut = 0; cut <= len; cut++) {
		struct hf_reader reader = hf_reader(hf_span(b->body, cut));
		struct hf_span key;
		size_t keys = 0;
		while (reader.at < reader.end && hf_delete_body_next(&reader, &key))
			assert_int_equal(key.len, key_lens[keys++]);
		bool whole = cut == 0 || cut == ends[0] || cut == ends[1] || cut == ends[2];
		assert_int_equal(!reader.bad, whole);
		assert_int_equal(keys, (cut >= ends[0]) + (cut >= ends[1]) + (cut >= ends[2]));
	}
	struct hf_reader empty = hf_reader(hf_span("\0", 1));
	struct hf_span key;
	assert_false(hf_delete_body_next(&empty, &key));
}

/* ---- contracts ------------------------------------------------------------------------------- */

static enum hf_status compile_body(struct buffers *b) {
	static struct hf_diagnostics diagnostics;
	struct hf_contract *contract;
	struct hf_err err;
	if (!hf_contract_body_compile(hf_span(b->body, b->body_len), &diagnostics, &contract, &err))
		return err.status;
	hf_contract_free(contract);
	return HF_OK;
}

static void put_contract(struct buffers *b, const char *text, const char *file_name) {
	static struct hf_diagnostics diagnostics;
	struct hf_contract *contract;
	struct hf_err err;
	assert_true(
		hf_contract_compile(hf_span_of(text), file_name, &diagnostics, &contract, &err));
	b->body_len = hf_contract_body_put(contract, b->body, hf_contract_body_max(contract));
	hf_contract_free(contract);
}

/* With the name that was recorded, whatever the file was called, or not at all. */
static void a_contract_has_the_recorded_name(void **state) {
	struct buffers *b = *state;
	static const char plain[] = "stateDiagram-v2\n[*] --> A : x\n";
	static const char titled[] = "---\ntitle: named\n---\nstateDiagram-v2\n[*] --> A : x\n";
	static const char *const files[] = { "x", "x.mmd", "x.mmd.mmd", "x.mmd.mmd.mmd" };
	char longest[HF_NAME_MAX + 5];
	for (size_t i = 0; i < 4; i++) {
		put_contract(b, plain, files[i]);
		assert_int_equal(compile_body(b), HF_OK);
		put_contract(b, titled, files[i]);
		assert_int_equal(compile_body(b), HF_OK);
	}
	b->body[17] ^= 1;
	assert_int_equal(compile_body(b), HF_CORRUPT);
	b->body[17] ^= 1;
	b->body[0] ^= 1;
	assert_int_equal(compile_body(b), HF_CORRUPT);
	memset(longest, 'n', HF_NAME_MAX);
	memcpy(longest + HF_NAME_MAX, ".mmd", 5);
	put_contract(b, plain, longest);
	assert_int_equal(compile_body(b), HF_OK);
	b->body[18] = '/';
	assert_int_equal(compile_body(b), HF_CORRUPT);
	b->body[18] = '\0';
	assert_int_equal(compile_body(b), HF_CORRUPT);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_put_is_got, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_sector_is_all_zeros, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_cut_body_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bad_pieces_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_value_that_is_too_long_is_refused, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(keys_that_go_are_got, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_contract_has_the_recorded_name, set_up,
						tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
