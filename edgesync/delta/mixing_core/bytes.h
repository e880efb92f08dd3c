/* The model of bytes of which nothing is known: each is told by the ones before it. */

#ifndef EDGESYNC_MIXING_BYTES_H
#define EDGESYNC_MIXING_BYTES_H

#include "model.h"

enum { BYTES_INPUTS = 4, BYTES_BITS = 14, BYTES_SETS = 2 * 256 };

typedef struct {
    Group groups[1 << BYTES_BITS];
    int32_t weights[BYTES_SETS][BYTES_INPUTS];
} Bytes;

/* Code `size` bytes with a model of zeros: read from `bytes` where the coder encodes, written there where it decodes. */
void bytes_code(Bytes *model, Coder *coder, uint8_t *bytes, size_t size);

#endif
