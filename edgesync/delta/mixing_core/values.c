#include "values.h"

enum {
    HABIT_MOST = 7,
    AGREED = 8,         /* what a guess counts more for each other one that is the same */
    PLACE_SHIFT = 12,   /* references to one page go together */
    NEIGHBOURS = 16,    /* and in another way those to 16 of them */
    WHOLE = 1 << 1 | 1 << 2 | 1 << 8 | 1 << 12 | 1 << 13, /* kinds of which the sum is told, not what is added */
};

enum { BY_WORD, BY_PLACE, BY_KIND, BY_RECALL }; /* where guesses come from */

static const Mixing GUESSING = {.inputs = GUESS_INPUTS, .learning = 8, .patience = 14};
static const Mixing TELLING = {.inputs = VALUE_INPUTS, .learning = 8, .patience = 14};

/* A value that may be it: where it comes from, and how sure that is. */
typedef struct {
    uint32_t value, trust;
} Guess;

void values_start(Values *model)
{
    mix_start(model->guess_weights[0], KINDS * GUESS_INPUTS, (1 << WEIGHT_BITS) * 2 / 5);
    mix_start(model->weights[0], KINDS * 4 * 2 * VALUE_INPUTS, (1 << WEIGHT_BITS) * 3 / 20);
}

/* The bits of ADR and ADRP so that those of the distance lie side by side: bit 31, 28 to 24, 23 to 5, 30 to 29, 4 to 0. */
static uint32_t straighten(uint32_t word)
{
    return (word & 0x8000001f) | (word >> 24 & 31) << 26 | (word >> 5 & 0x7ffff) << 7 | (word >> 29 & 3) << 5;
}

static uint32_t bend(uint32_t word)
{
    return (word & 0x8000001f) | (word >> 26 & 31) << 24 | (word >> 7 & 0x7ffff) << 5 | (word >> 5 & 3) << 29;
}

static int is_bent(uint32_t kind)
{
    return kind >= ADR && kind <= PAGE;
}

static Habit *habit(Habit *habits, uint32_t context)
{
    return &habits[context >> (32 - HABIT_BITS)];
}

static void habit_learn(Habit *habit, uint32_t value)
{
    habit->times = habit->value != value || !habit->times ? 1 : habit->times < HABIT_MOST ? habit->times + 1 : HABIT_MOST;
    habit->value = value;
}

/* Add a guess to the list, unless it is there. Gives the length of the list. */
static uint32_t propose(Guess *guesses, uint32_t count, uint32_t value, uint32_t from, uint32_t times)
{
    for (uint32_t i = 0; i < count; i++)
        if (guesses[i].value == value) {
            guesses[i].trust += AGREED + times;
            return count;
        }
    guesses[count] = (Guess){value, from << 8 | times};
    return count + 1;
}

/* Which guess it is: its number, or `count` for none of them. */
static uint32_t code_guess(Values *model, Coder *coder, uint32_t kind, uint32_t draft, const Guess *guesses,
                           uint32_t count, uint32_t value)
{
    for (uint32_t number = 0; number < count; number++) {
        uint32_t name = number << 8 | kind, trust = guesses[number].trust;
        uint32_t contexts[GUESS_INPUTS] = {
            hash2(trust, kind),
            hash2(trust << 8 | number, model->guessed & 63),
            hash2(guesses[number].value, kind),
            hash2(draft >> 16, name),
        };
        Slot *slots[GUESS_INPUTS];
        for (uint32_t i = 0; i < GUESS_INPUTS; i++)
            slots[i] = &model->slots[hash2(contexts[i], i) >> (32 - GUESS_BITS)];
        if (mix_bit(coder, GUESSING, slots, model->guess_weights[kind], guesses[number].value == value))
            return number;
    }
    return count;
}

/* What a value that may be it says of the next byte, if the bytes above are the same. */
static uint32_t expected(uint32_t value, uint32_t times, uint32_t above, uint32_t number)
{
    if (number < 3 && value >> 8 * (number + 1) != above)
        return 0;
    return (times < 3 ? times : 3) << 8 | byte_of(value, number) | 1 << 16;
}

/* Where a word may refer to: a plain one may be an offset in a table that nobody knows. */
static uint32_t place_of(const Segment *segment, uint32_t at, uint32_t draft)
{
    return kind_at(segment, at) == PLAIN ? draft : segment->target[at];
}

/* Four bytes, the highest first. */
static uint32_t code_value(Values *model, Coder *coder, const Segment *segment, uint32_t at, uint32_t draft,
                           const Habit *word, const Habit *chain, uint32_t value)
{
    uint32_t kind = kind_at(segment, at), base = WHOLE >> kind & 1 ? draft : 0, above = 0;
    uint32_t added = model->wrong_at + 1 == at ? model->wrong_value : 0; /* to the word before */
    Table table = {model->groups, VALUE_BITS};

    for (uint32_t number = 4; number--;) {
        uint32_t name = number << 4 | kind, known = hash2(above, name);
        uint32_t upper = number < 3 ? above ^ draft >> 8 * (number + 1) : 0;
        uint32_t contexts[VALUE_INPUTS] = {
            hash2(above, draft >> (number == 3 ? 16 : 8 * number)),
            hash2(upper, byte_of(draft, number)),
            hash2(above, word_before(segment, at, 1) >> 16),
            hash2(known, added),
            above & 0xff,
            hash2(known, place_of(segment, at, draft) >> NEIGHBOURS),
            expected(base + word->value, word->times, above, number),
            expected(base + chain->value, chain->times, above, number),
            expected(base + model->last[kind], 0, above, number),
        };
        for (uint32_t i = 0; i < VALUE_INPUTS; i++)
            contexts[i] = hash(numbered(contexts[i], name << 8 | i));
        above = above << 8 | mix_byte(coder, TELLING, &table, contexts, model->weights[name * 2],
                                      byte_of(base + value, number));
    }
    return above - base;
}

uint32_t values_word(Values *model, Coder *coder, const Segment *segment, Recall *recall, uint32_t at)
{
    uint32_t kind = kind_at(segment, at), word = segment->word[at], draft = is_bent(kind) ? straighten(word) : word;
    Habit *by_word = habit(model->by_word, hash2(draft, kind));
    Habit *by_place = habit(model->by_place, hash2(place_of(segment, at, draft) >> PLACE_SHIFT, kind));
    Habit *by_value = habit(model->by_value, hash2(model->last[kind], kind));
    uint32_t place = *recall_two(recall, segment, at), count = 0, value = 0;
    Guess guesses[GUESSES];

    if (!coder->decoding)
        value = (is_bent(kind) ? straighten(segment->result[at]) : segment->result[at]) - draft;
    if (by_word->times)
        count = propose(guesses, count, by_word->value, BY_WORD, by_word->times);
    if (by_place->times)
        count = propose(guesses, count, by_place->value, BY_PLACE, by_place->times);
    count = propose(guesses, count, model->last[kind], BY_KIND, 0);
    if (kind == PLAIN && place && relative(absolute(segment->word[place], place), at) != draft)
        count = propose(guesses, count, relative(absolute(segment->word[place], place), at) - draft, BY_RECALL, 1);

    uint32_t number = code_guess(model, coder, kind, draft, guesses, count, value);
    value = number < count ? guesses[number].value
                           : code_value(model, coder, segment, at, draft, by_word, by_value, value);
    model->guessed = model->guessed << 3 | (number < count ? number : 7);
    habit_learn(by_word, value);
    habit_learn(by_place, value);
    habit_learn(by_value, value);
    model->last[kind] = value;
    model->wrong_at = at;
    model->wrong_value = value;
    return is_bent(kind) ? bend(draft + value) : draft + value;
}
