/* One whole number, from what is known before it: its length in bits and its sign, from contexts and from guesses,
   numbers that it may be equal or near to; then its bits, the highest first, from those before, the guesses, and how
   things are aligned. */

#ifndef EDGESYNC_MIXING_NUMBERS_H
#define EDGESYNC_MIXING_NUMBERS_H

#include "model.h"

enum {
    NUMBERS_BITS = 18,       /* of an index of a slot */
    NUMBERS_INPUTS = 7,      /* opinions on a decision, at most */
    NUMBERS_COLUMNS = 7,     /* kinds of numbers in a table */
    NUMBERS_SETS = 64,       /* sets of weights of a column */
    NUMBERS_LONGEST = 62,    /* bits of a number: below the 63 that nine bytes hold, for those with a sign */
    NUMBERS_CONTEXTS = 4,
    NUMBERS_GUESSES = 3,
};

typedef struct {
    Slot slots[1 << NUMBERS_BITS]; /* of all contexts; those that meet in one share it */
    int32_t weights[NUMBERS_COLUMNS][NUMBERS_SETS][NUMBERS_INPUTS];
    int is_lost; /* a number was too long to be coded */
} Numbers;

/* What is known. Numbers are signed, as their two's complement. */
typedef struct {
    uint32_t column;
    uint32_t contexts, guesses;
    uint32_t context[NUMBERS_CONTEXTS]; /* of the length and the sign */
    uint64_t guess[NUMBERS_GUESSES];
    uint64_t vague; /* bits that the first guess does not tell */
    uint64_t at;    /* what the number is added to: their sum is often a multiple of 2, 4, 8 or 16 */
} Number;

static inline uint32_t bit_length(uint64_t value)
{
    uint32_t length = 0;

    for (uint32_t step = 32; step; step >>= 1)
        if (value >> step) {
            value >>= step;
            length += step;
        }
    return length + (uint32_t)value;
}

static inline uint32_t is_negative(uint64_t value)
{
    return (uint32_t)(value >> 63);
}

static inline uint64_t magnitude(uint64_t value)
{
    return is_negative(value) ? -value : value;
}

/* How long a number is, and its sign: 0 for 0. */
static inline uint32_t size_of(uint64_t value)
{
    return bit_length(magnitude(value)) << 1 | is_negative(value);
}

/* 0, -1, 1, -2 ... become 0, 1, 2, 3 ... */
static inline uint64_t fold(uint64_t value)
{
    return value << 1 ^ -(value >> 63);
}

static inline uint64_t unfold(uint64_t folded)
{
    return folded >> 1 ^ -(folded & 1);
}

/* Make a model of zeros one that has seen nothing. */
void numbers_start(Numbers *model);

/* Code a number of at least 0, or one with a sign. */
uint64_t numbers_unsigned(Numbers *model, Coder *coder, const Number *number, uint64_t value);
uint64_t numbers_signed(Numbers *model, Coder *coder, const Number *number, uint64_t value);

/* Code `bits` bits, at most five, the highest first: a choice of the column, with `inputs` contexts. */
uint32_t numbers_choice(Numbers *model, Coder *coder, uint32_t column, uint32_t inputs, const uint32_t *contexts,
                        uint32_t bits, uint32_t value);

#endif
