/* What is added to a wrong word. Often it is what was added to the same word elsewhere, to a reference to a place near
   by, or to the last word of the kind: these guesses come first. Any other value is told byte by byte. */

#ifndef EDGESYNC_MIXING_VALUES_H
#define EDGESYNC_MIXING_VALUES_H

#include "model.h"
#include "recall.h"
#include "segment.h"

enum {
    GUESSES = 4,
    GUESS_INPUTS = 4,
    GUESS_BITS = 14,  /* of an index of a slot */
    VALUE_INPUTS = 9,
    VALUE_BITS = 15,  /* of an index of a group */
    HABIT_BITS = 14,  /* of an index of a habit */
};

/* A value that followed something, and how often in a row it did, at most HABIT_MOST. 0: never. */
typedef struct {
    uint32_t value;
    uint32_t times;
} Habit;

typedef struct {
    Group groups[1 << VALUE_BITS];
    Slot slots[1 << GUESS_BITS];
    int32_t guess_weights[KINDS][GUESS_INPUTS];
    int32_t weights[KINDS * 4 * 2][VALUE_INPUTS];
    Habit by_word[1 << HABIT_BITS];  /* the draft */
    Habit by_place[1 << HABIT_BITS]; /* what is referred to, to the kilobyte */
    Habit by_value[1 << HABIT_BITS]; /* the last value of the kind */
    uint32_t last[KINDS];            /* value of each kind */
    uint32_t guessed;                /* which guesses were right in the last wrong words, three bits each */
    uint32_t wrong_at, wrong_value;  /* the last wrong word */
} Values;

void values_start(Values *model);

/* Code the wrong word at this place, the draft of which is there still. Gives what it becomes. */
uint32_t values_word(Values *model, Coder *coder, const Segment *segment, Recall *recall, uint32_t at);

#endif
