/*
 * record.h - one version of a record, as it stands in memory: a head of 8 bytes, the data, the key.
 * Never changed once it can be found: a new version is a new record in its slot. A slot's word has
 * the record's address, and above it 16 bits that most others do not have.
 */
#ifndef HF_MAP_RECORD_H
#define HF_MAP_RECORD_H

#include "map/tags.h"

struct hf_record {
	uint64_t head; /* version << 24 | length of the data << 8 | length of the key */
	uint8_t bytes[];
};

#define HF_RECORD_VERSION_MAX (((uint64_t)1 << 40) - 1)

static inline struct hf_record *hf_record_of(uint64_t word) {
	return hf_tag_address(word);
}

static inline size_t hf_record_key_len(const struct hf_record *record) {
	return record->head & 0xff;
}

static inline size_t hf_record_len(const struct hf_record *record) {
	return record->head >> 8 & 0xffff;
}

static inline uint64_t hf_record_version(const struct hf_record *record) {
	return record->head >> 24;
}

static inline const uint8_t *hf_record_key(const struct hf_record *record) {
	return record->bytes + hf_record_len(record);
}

static inline size_t hf_record_bytes(const struct hf_record *record) {
	return sizeof(*record) + hf_record_len(record) + hf_record_key_len(record);
}

static inline uint32_t hf_record_lines(const struct hf_record *record) {
	return hf_lines_of(hf_record_bytes(record));
}

uint64_t hf_record_hash(const struct hf_map *map, const void *key, size_t len);

#endif
