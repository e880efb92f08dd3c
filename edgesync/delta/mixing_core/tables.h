/* The tables of a chapter: columns of numbers, all of the first, then all of the second. */

#ifndef EDGESYNC_MIXING_TABLES_H
#define EDGESYNC_MIXING_TABLES_H

#include "copies.h"

/* Which table: what its columns are, docs/delta-format.md says. */
typedef enum { TABLE_COPIES, TABLE_PIECES, TABLE_REGIONS, TABLE_CORRECTIONS, TABLE_RUNS, TABLES } TableName;

enum { TABLES_NUMBERS = 1 << 20 }; /* of a table at most, five times what the limits of the format allow */

typedef struct {
    Numbers numbers;
    Copies copies;
} Tables;

/* Code `count` numbers of at most 63 bits with a model of zeros: read from `numbers` where the coder encodes, written
   there where it decodes. Gives 0 if these are none that the model codes, or not how the encoder tells them. */
int tables_code(Tables *model, Coder *coder, TableName table, uint64_t *numbers, size_t count);

#endif
