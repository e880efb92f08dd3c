/* Words that no copy makes, or only some bytes of: new code, new data, and the edges of copies. */

#ifndef EDGESYNC_MIXING_FRESH_H
#define EDGESYNC_MIXING_FRESH_H

#include "model.h"
#include "recall.h"
#include "segment.h"

enum {
    AGAIN_INPUTS = 3,
    AGAIN_BITS = 12, /* of an index of a slot */
    FRESH_INPUTS = 11,
    FRESH_BITS = 16, /* of an index of a group */
    FRESH_SETS = 3 * 4 * 2,
    RECALLED = 2,    /* words that may come again */
};

typedef struct {
    Group groups[1 << FRESH_BITS];
    Slot slots[1 << AGAIN_BITS];
    int32_t again_weights[RECALLED][AGAIN_INPUTS];
    int32_t weights[FRESH_SETS][FRESH_INPUTS];
    uint32_t came; /* whether the last new words were recalled, two bits each */
} Fresh;

void fresh_start(Fresh *model);

/* Code the word at this place, of which not every byte is copied. */
uint32_t fresh_word(Fresh *model, Coder *coder, const Segment *segment, Recall *recall, uint32_t at);

#endif
