/*
 * memo.h - contracts that were compiled before. Compiling is pure, and takes most of a recovery's
 * time: it stands between the engine and src/machine, and remembers.
 */
#ifndef TESTS_SIM_MEMO_H
#define TESTS_SIM_MEMO_H

#include <stdbool.h>

/* Off (the default): every text is compiled anew. */
void memo_set(bool on);
/* Of the lives of chaos and damage: so that memory runs out in the compiler, too. */
#define MEMO_NOT_ONE_IN 8u

#endif
