/* The words of a segment: which of those that were copied and predicted are wrong, what is added to these, and the words
   that come from nowhere.

   They are told in the order of the result, each from all before it. So what happened to the last word that referred to
   the same thing, to the last one of the same form and to the words beside it can all be known, and the mixer finds out
   what it is worth. */

#ifndef EDGESYNC_MIXING_WORDS_H
#define EDGESYNC_MIXING_WORDS_H

#include "fresh.h"
#include "model.h"
#include "segment.h"
#include "values.h"

enum {
    FLAGS_INPUTS = 8,
    FLAGS_BITS = 18, /* of an index of a slot */
    FLAGS_SETS = KINDS * 4,
};

/* Whether a word is wrong. */
typedef struct {
    Slot slots[1 << FLAGS_BITS];
    int32_t weights[FLAGS_SETS][FLAGS_INPUTS];
    uint32_t last;              /* of the last 32 words, a bit for each that was wrong; the youngest lowest */
    uint32_t last_of[KINDS];    /* the same of the last ones of each kind */
    uint32_t right;             /* words since the last wrong one */
} Flags;

typedef struct {
    Flags flags;
    Values values;
    Fresh fresh;
    Recall recall;
} Words;

/* Make a model of zeros one that has seen nothing, and code a segment with it. */
void words_code(Words *model, Coder *coder, Segment *segment);

#endif
