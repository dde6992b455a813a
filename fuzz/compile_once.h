/*
 * compile_once.h - a contract does not change, so one that every execution needs is compiled once:
 * compile_once.c stands in the way of hf_contract_compile and hf_contract_free (-Wl,--wrap).
 */
#ifndef HF_FUZZ_COMPILE_ONCE_H
#define HF_FUZZ_COMPILE_ONCE_H

#include "base/span.h"

/* This text, which is the caller's; a text without errors, of a contract with a title. */
void hf_compile_once(struct hf_span text);

#endif
