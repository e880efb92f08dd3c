#include "words.h"

enum { LONG = 255 }; /* words; longer runs without a wrong one are alike */

/* Odd numbers without a pattern: by multiplication they spread contexts over the slots, each in its own way. */
static const uint32_t SPREAD[FLAGS_INPUTS] = {0x9e3779b1, 0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f,
                                              0x165667b1, 0xd3a2646d, 0xfd7046c5, 0xb55a4f09};
static const Mixing FLAGS = {.inputs = FLAGS_INPUTS, .learning = 12, .patience = 10};

/* Whether the word at this place is wrong. `edge` says how far the edges of copies are. */
static int code_flag(Flags *model, Coder *coder, const Segment *segment, uint32_t at, uint32_t edge)
{
    uint32_t kind = kind_at(segment, at), word = segment->word[at], target = segment->target[at];
    uint32_t last = model->last, form = word >> 16, before = word_before(segment, at, 1) >> 16;
    uint32_t place = kind == PLAIN ? word : target;
    uint32_t contexts[FLAGS_INPUTS] = {
        kind == PLAIN ? numbered(word, last & 3) : target,
        place >> 8 << 1 | (last & 1),
        form << 1 | (last & 1),
        numbered(form << 16 | before, last & 3),
        word,
        last & 0xfff,
        edge << 4 | (model->last_of[kind] & 15),
        model->right,
    };
    Slot *slots[FLAGS_INPUTS];

    for (uint32_t i = 0; i < FLAGS_INPUTS; i++) /* there are so many words that a whole hash for each would count */
        slots[i] = &model->slots[numbered(contexts[i], kind) * SPREAD[i] >> (32 - FLAGS_BITS)];
    int is_wrong = mix_bit(coder, FLAGS, slots, model->weights[kind << 2 | (last & 3)],
                           !coder->decoding && segment->result[at] != word);
    model->last = last << 1 | (uint32_t)is_wrong;
    model->last_of[kind] = model->last_of[kind] << 1 | (uint32_t)is_wrong;
    model->right = is_wrong ? 0 : model->right < LONG ? model->right + 1 : LONG;
    return is_wrong;
}

static void start(Words *model, Segment *segment)
{
    mix_start(model->flags.weights[0], FLAGS_SETS * FLAGS_INPUTS, (1 << WEIGHT_BITS) / 4);
    values_start(&model->values);
    fresh_start(&model->fresh);
    segment_measure(segment);
    for (uint32_t at = 0; at < segment->count; at++)
        if (!(segment->mark[at] & MARK_UNKNOWN))
            recall_learn(&model->recall, segment, at);
}

void words_code(Words *model, Coder *coder, Segment *segment)
{
    uint32_t behind = NEAR; /* words since the last edge */

    start(model, segment);
    for (uint32_t at = 0; at < segment->count; at++) {
        uint32_t mark = segment->mark[at], unknown = mark & MARK_UNKNOWN, word = segment->word[at];
        behind = mark & MARK_EDGE ? 0 : behind < NEAR ? behind + 1 : NEAR;
        if (unknown)
            word = fresh_word(&model->fresh, coder, segment, &model->recall, at);
        else if (code_flag(&model->flags, coder, segment, at, step_of(behind) << 2 | step_of(mark >> MARK_NEAR)))
            word = values_word(&model->values, coder, segment, &model->recall, at);
        segment->word[at] = word;
        recall_learn(&model->recall, segment, at);
    }
}
