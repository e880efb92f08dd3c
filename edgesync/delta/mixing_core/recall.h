/* Where the same words stood before, in the result so far or in the draft of what follows: what came behind them there
   may come again. */

#ifndef EDGESYNC_MIXING_RECALL_H
#define EDGESYNC_MIXING_RECALL_H

#include "model.h"
#include "segment.h"

enum {
    RECALL_ONE = 16,  /* bits of an index by one word */
    RECALL_TWO = 18,  /* by two */
    RECALL_LONG = 20, /* words that are compared at most */
};

/* Places behind a word, and behind two; 0 for none. Words that meet in one entry share it. */
typedef struct {
    uint32_t one[1 << RECALL_ONE];
    uint32_t two[1 << RECALL_TWO];
} Recall;

static inline uint32_t *recall_one(Recall *recall, const Segment *segment, uint32_t at)
{
    return &recall->one[hash(absolute_before(segment, at, 1)) >> (32 - RECALL_ONE)];
}

static inline uint32_t *recall_two(Recall *recall, const Segment *segment, uint32_t at)
{
    uint32_t words = hash(numbered(absolute_before(segment, at, 1), absolute_before(segment, at, 2)));

    return &recall->two[words >> (32 - RECALL_TWO)];
}

static inline void recall_learn(Recall *recall, const Segment *segment, uint32_t at)
{
    *recall_one(recall, segment, at) = at;
    *recall_two(recall, segment, at) = at;
}

/* How many words before both places are the same. */
static inline uint32_t recall_length(const Segment *segment, uint32_t place, uint32_t at)
{
    uint32_t length = 0;

    while (length < RECALL_LONG && length < place && length < at &&
           absolute_before(segment, place, length + 1) == absolute_before(segment, at, length + 1))
        length++;
    return length;
}

#endif
