#include "copies.h"

enum {
    GAP, STEP, PLACE, SIZE, KIND, /* columns */
    KIND_BITS = 3,
    JUMP = COPIES_TRACKS,
    FAR = 25, /* cost from which a row is a jump */
};

_Static_assert(JUMP == (1 << KIND_BITS) - 1, "the kinds of rows fill their tree");

static Place *place_of(Copies *copies, uint64_t base)
{
    return &copies->places[hash2((uint32_t)base, (uint32_t)(base >> 32)) >> (32 - COPIES_PLACES)];
}

/* What came after a row like the last one. */
static Sequel *sequel_of(Copies *copies)
{
    return &copies->sequels[hash2((uint32_t)copies->sizes[0], (uint32_t)copies->gaps[0]) >> (32 - COPIES_PLACES)];
}

/* The track that a row with this shift is on: the one from which it is told in the fewest bits, or so. */
static uint32_t kind_of(const Copies *copies, uint64_t shift)
{
    uint32_t best = JUMP, least = FAR;

    for (uint32_t kind = 0; kind < COPIES_TRACKS; kind++) {
        uint32_t cost = 2 * bit_length(magnitude(shift - copies->tracks[kind].shift)) + 2 * kind;
        if (cost < least) {
            least = cost;
            best = kind;
        }
    }
    return best;
}

static uint32_t pair(uint32_t one, uint32_t other)
{
    return one << 8 | other;
}

static uint64_t code_gap(Copies *copies, Numbers *model, Coder *coder, uint64_t gap)
{
    uint32_t kind = copies->kinds[0], size = bit_length(copies->sizes[0]);
    uint32_t gaps = pair(bit_length(copies->gaps[0]), bit_length(copies->gaps[1]));
    Sequel *sequel = sequel_of(copies);
    Number number = {
        .column = GAP,
        .contexts = 4,
        .context = {0, pair(kind, size), pair(kind, copies->end & 15), gaps},
        .guesses = 1,
        .guess = {sequel->gap},
        .at = copies->end,
    };
    return sequel->gap = numbers_unsigned(model, coder, &number, gap);
}

static uint32_t code_kind(const Copies *copies, Numbers *model, Coder *coder, uint32_t kind)
{
    const uint32_t *kinds = copies->kinds;
    uint32_t contexts[] = {
        hash2(kinds[0], 0),
        hash2(pair(pair(kinds[0], kinds[1]), kinds[2]), 1),
        hash2(pair(kinds[0], bit_length(copies->sizes[0])), 2),
    };
    return numbers_choice(model, coder, KIND, sizeof contexts / sizeof *contexts, contexts, KIND_BITS, kind);
}

/* The step from a track: as far back as it came, or on from where its last row ended in the base, or any. */
static uint64_t code_step(const Copies *copies, Numbers *model, Coder *coder, uint32_t kind, uint64_t at, uint32_t gap,
                          uint64_t step)
{
    const Track *track = &copies->tracks[kind];
    uint64_t back = track->before - track->shift, on = track->end - at;
    Number number = {
        .column = STEP,
        .contexts = 4,
        .context = {0, gap, pair(kind, size_of(copies->step)), pair(kind, size_of(on))},
        .guesses = 2,
        .guess = {back, on},
        .at = at + track->shift,
    };
    return numbers_signed(model, coder, &number, step);
}

/* The place in the base that a jump goes to: near where it left, or where one went from the same place or after a row
   like the last, or any. */
static uint64_t code_jump(Copies *copies, Numbers *model, Coder *coder, uint64_t at, uint32_t gap, uint64_t base)
{
    uint64_t here = at + copies->tracks[0].shift;
    Place *last = place_of(copies, copies->jump);
    Sequel *sequel = sequel_of(copies);
    Number number = {
        .column = PLACE,
        .contexts = 2,
        .context = {0, gap},
        .guesses = 3,
        .guess = {here, last->next, sequel->place},
    };
    return sequel->place = last->next = copies->jump = numbers_signed(model, coder, &number, base);
}

static uint64_t code_size(Copies *copies, Numbers *model, Coder *coder, uint32_t kind, uint64_t at, uint32_t gap,
                          uint64_t shift, uint64_t size)
{
    Place *place = place_of(copies, at + shift);
    Sequel *sequel = sequel_of(copies);
    uint32_t sizes = pair(bit_length(copies->sizes[0]), bit_length(copies->sizes[1]));
    Number number = {
        .column = SIZE,
        .contexts = 4,
        .context = {0, pair(kind, gap), sizes, pair(kind, bit_length(magnitude(copies->step)))},
        .guesses = 2,
        .guess = {place->size, sequel->size},
        .at = at,
    };
    return sequel->size = place->size = numbers_unsigned(model, coder, &number, size);
}

/* The row becomes its track's last, and its track the first. A jump begins one and drops the last. */
static void follow(Copies *copies, uint32_t kind, uint64_t shift, uint64_t end)
{
    Track track = {shift, copies->tracks[kind == JUMP ? 0 : kind].shift, end};

    memmove(copies->tracks + 1, copies->tracks, (kind == JUMP ? COPIES_TRACKS - 1 : kind) * sizeof track);
    copies->tracks[0] = track;
    memmove(copies->kinds + 1, copies->kinds, 2 * sizeof *copies->kinds);
    copies->kinds[0] = kind;
}

int copies_row(Copies *copies, Numbers *model, Coder *coder, Copy *row)
{
    uint64_t shift = copies->shift + row->step;

    row->gap = code_gap(copies, model, coder, row->gap);
    uint64_t at = copies->end + row->gap;
    uint32_t gap = bit_length(row->gap), kind = code_kind(copies, model, coder, kind_of(copies, shift));
    if (kind == JUMP) {
        shift = code_jump(copies, model, coder, at, gap, at + shift) - at;
        copies->step = 0;
    } else {
        uint64_t from = copies->tracks[kind].shift;
        copies->step = code_step(copies, model, coder, kind, at, gap, shift - from);
        shift = from + copies->step;
    }
    int is_sound = kind == kind_of(copies, shift);
    row->size = code_size(copies, model, coder, kind, at, gap, shift, row->size);
    row->step = shift - copies->shift;
    copies->end = at + row->size;
    copies->shift = shift;
    follow(copies, kind, shift, copies->end);
    copies->sizes[1] = copies->sizes[0];
    copies->sizes[0] = row->size;
    copies->gaps[1] = copies->gaps[0];
    copies->gaps[0] = row->gap;
    return is_sound;
}
