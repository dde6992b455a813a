/*
 * interleave.h - what atomic.h turns into with -DHF_INTERLEAVE: calls into an explorer of
 * interleavings. Include atomic.h, not this. The code is tests/interleave's; the product has none.
 *
 * Each call is one step of its thread, and names the place in the source that it comes from. The
 * macros nest, as atomic.h's do; compile with -Wno-shadow.
 */
#ifndef HF_BASE_INTERLEAVE_H
#define HF_BASE_INTERLEAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hf_interleave_site {
	const char *file;
	int line;
	const char *what; /* the text of the expression that names the object */
};

enum hf_interleave_rmw {
	HF_INTERLEAVE_EXCHANGE,
	HF_INTERLEAVE_ADD,
	HF_INTERLEAVE_SUB,
	HF_INTERLEAVE_AND,
	HF_INTERLEAVE_OR,
};

/* Values are zero-extended from `bytes` (1, 2, 4 or 8). */
uint64_t hf_interleave_load(const volatile void *where, unsigned bytes, int order,
			    const struct hf_interleave_site *site);
void hf_interleave_store(volatile void *where, unsigned bytes, uint64_t value, int order,
			 const struct hf_interleave_site *site);
uint64_t hf_interleave_rmw(volatile void *where, unsigned bytes, enum hf_interleave_rmw what,
			   uint64_t value, int order, const struct hf_interleave_site *site);
bool hf_interleave_cas(volatile void *where, unsigned bytes, uint64_t *expected, uint64_t value,
		       int success, int failure, const struct hf_interleave_site *site);
struct hf_atomic_pair hf_interleave_pair_load(const volatile struct hf_atomic_pair *where,
					      const struct hf_interleave_site *site);
void hf_interleave_pair_store(volatile struct hf_atomic_pair *where, struct hf_atomic_pair pair,
			      const struct hf_interleave_site *site);
void hf_interleave_fence(int order, const struct hf_interleave_site *site);
void hf_interleave_fence_light(const struct hf_interleave_site *site);
void hf_interleave_fence_heavy(const struct hf_interleave_site *site);
void hf_interleave_relax(const struct hf_interleave_site *site);
void hf_interleave_plain(const volatile void *where, size_t bytes, bool writes,
			 const struct hf_interleave_site *site);
void hf_interleave_note_new(const volatile void *where, size_t bytes,
			    const struct hf_interleave_site *site);
void hf_interleave_note_dead(const volatile void *where, size_t bytes,
			     const struct hf_interleave_site *site);
bool hf_fence_heavy_works(void);

#define HF_INTERLEAVE_SITE(name, text) \
	static const struct hf_interleave_site name = { __FILE__, __LINE__, text }
/* The value of an object of up to 8 bytes, and the word of its bytes. Little-endian machines. */
#define HF_INTERLEAVE_WORD(where) \
	union { \
		__typeof__(*(where)) as; \
		uint64_t word; \
	}

#define hf_atomic_load(where, order) \
	({ \
		HF_INTERLEAVE_SITE(site_, #where); \
		HF_INTERLEAVE_WORD(where) \
		got_ = { .word = hf_interleave_load((where), sizeof(*(where)), (order), &site_) }; \
		got_.as; \
	})
#define hf_atomic_store(where, value, order) \
	({ \
		HF_INTERLEAVE_SITE(site_, #where); \
		HF_INTERLEAVE_WORD(where) put_ = { .word = 0 }; \
		put_.as = (value); \
		hf_interleave_store((where), sizeof(*(where)), put_.word, (order), &site_); \
	})
#define HF_INTERLEAVE_RMW(where, what, value, order) \
	({ \
		HF_INTERLEAVE_SITE(site_, #where); \
		HF_INTERLEAVE_WORD(where) put_ = { .word = 0 }; \
		put_.as = (__typeof__(put_.as))(value); \
		put_.word = hf_interleave_rmw((where), sizeof(*(where)), (what), put_.word, \
					      (order), &site_); \
		put_.as; \
	})
#define hf_atomic_exchange(where, value, order) \
	HF_INTERLEAVE_RMW(where, HF_INTERLEAVE_EXCHANGE, value, order)
#define hf_atomic_fetch_add(where, value, order) \
	HF_INTERLEAVE_RMW(where, HF_INTERLEAVE_ADD, value, order)
#define hf_atomic_fetch_sub(where, value, order) \
	HF_INTERLEAVE_RMW(where, HF_INTERLEAVE_SUB, value, order)
#define hf_atomic_fetch_and(where, value, order) \
	HF_INTERLEAVE_RMW(where, HF_INTERLEAVE_AND, value, order)
#define hf_atomic_fetch_or(where, value, order) \
	HF_INTERLEAVE_RMW(where, HF_INTERLEAVE_OR, value, order)
#define hf_atomic_cas(where, expected, value, success, failure) \
	({ \
		HF_INTERLEAVE_SITE(site_, #where); \
		HF_INTERLEAVE_WORD(where) old_ = { .word = 0 }, new_ = { .word = 0 }; \
		__typeof__(new_.as) *expected_ = (expected); \
		old_.as = *expected_; \
		new_.as = (value); \
		bool stored_ = hf_interleave_cas((where), sizeof(*(where)), &old_.word, new_.word, \
						 (success), (failure), &site_); \
		if (!stored_) \
			*expected_ = old_.as; \
		stored_; \
	})
#define hf_atomic_pair_load(where) \
	({ \
		HF_INTERLEAVE_SITE(site_, #where); \
		hf_interleave_pair_load((where), &site_); \
	})
#define hf_atomic_pair_store(where, ...) \
	({ \
		HF_INTERLEAVE_SITE(site_, #where); \
		hf_interleave_pair_store((where), (__VA_ARGS__), &site_); \
	})

/* A step that names no object. */
#define HF_INTERLEAVE_STEP(call, text) \
	({ \
		HF_INTERLEAVE_SITE(site_, text); \
		call; \
	})
#define hf_fence(order) HF_INTERLEAVE_STEP(hf_interleave_fence((order), &site_), "")
#define hf_fence_light() HF_INTERLEAVE_STEP(hf_interleave_fence_light(&site_), "")
#define hf_fence_heavy() HF_INTERLEAVE_STEP(hf_interleave_fence_heavy(&site_), "")
#define hf_cpu_relax() HF_INTERLEAVE_STEP(hf_interleave_relax(&site_), "")

#define hf_plain_load(where) \
	({ \
		__typeof__(*(where)) const *where_ = (where); \
		HF_INTERLEAVE_SITE(site_, #where); \
		hf_interleave_plain(where_, sizeof(*where_), false, &site_); \
		*where_; \
	})
#define hf_plain_store(where, value) \
	({ \
		__typeof__(*(where)) *where_ = (where); \
		HF_INTERLEAVE_SITE(site_, #where); \
		hf_interleave_plain(where_, sizeof(*where_), true, &site_); \
		*where_ = (value); \
		(void)0; \
	})
#define hf_plain_reads(where, bytes) \
	HF_INTERLEAVE_STEP(hf_interleave_plain((where), (bytes), false, &site_), #where)
#define hf_plain_writes(where, bytes) \
	HF_INTERLEAVE_STEP(hf_interleave_plain((where), (bytes), true, &site_), #where)
#define hf_note_new(where, bytes) \
	HF_INTERLEAVE_STEP(hf_interleave_note_new((where), (bytes), &site_), #where)
#define hf_note_dead(where, bytes) \
	HF_INTERLEAVE_STEP(hf_interleave_note_dead((where), (bytes), &site_), #where)

#endif
