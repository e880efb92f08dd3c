/* Whole numbers as bytes: groups of seven bits, the lowest first, the high bit set on all bytes but the last. */

#ifndef EDGESYNC_MIXING_LEB128_H
#define EDGESYNC_MIXING_LEB128_H

#include <stddef.h>
#include <stdint.h>

enum { LEB128_MOST = 9 }; /* bytes of a number: 63 bits */

/* Read exactly `count` numbers, each in its shortest form. Gives 0 if the bytes are anything else. */
static inline int leb128_read(const uint8_t *bytes, size_t size, uint64_t *numbers, size_t count)
{
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t number = 0;
        uint32_t groups = 0;
        do {
            if (at == size || groups == LEB128_MOST)
                return 0;
            number |= (uint64_t)(bytes[at] & 0x7f) << 7 * groups++;
        } while (bytes[at++] & 0x80);
        if (groups > 1 && bytes[at - 1] == 0)
            return 0;
        numbers[i] = number;
    }
    return at == size;
}

/* Write the numbers. Gives how many bytes they take; without `to`, nothing is written. */
static inline size_t leb128_write(const uint64_t *numbers, size_t count, uint8_t *to)
{
    size_t at = 0;

    for (size_t i = 0; i < count; i++)
        for (uint64_t rest = numbers[i], more = 1; more; rest >>= 7) {
            more = rest > 0x7f;
            if (to)
                to[at] = (uint8_t)((rest & 0x7f) | more << 7);
            at++;
        }
    return at;
}

#endif
