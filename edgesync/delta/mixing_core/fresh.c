#include "fresh.h"

enum {
    REGISTER = 31, /* bits of an instruction's first register, most often what it writes */
    NO_BYTE = 256,
    ROW = 6,       /* words of an entry in tables of relocations and symbols; half of them, every second, are alike in more */
};

static const Mixing AGAIN = {.inputs = AGAIN_INPUTS, .learning = 6, .patience = 15};
static const Mixing TELLING = {.inputs = FRESH_INPUTS, .learning = 6, .patience = 14};

/* A word that may come again, and how many words before it are the same here and there. */
typedef struct {
    uint32_t word, length;
} Recalled;

void fresh_start(Fresh *model)
{
    mix_start(model->again_weights[0], RECALLED * AGAIN_INPUTS, (1 << WEIGHT_BITS) * 2 / 5);
    mix_start(model->weights[0], FRESH_SETS * FRESH_INPUTS, (1 << WEIGHT_BITS) / 8);
}

/* Words that may come again, those after two words like the last before those after one. Gives how many. */
static uint32_t recalled(Recall *recall, const Segment *segment, uint32_t at, Recalled *words)
{
    uint32_t places[RECALLED] = {*recall_two(recall, segment, at), *recall_one(recall, segment, at)}, count = 0;

    for (uint32_t i = 0; i < RECALLED; i++) {
        uint32_t length = recall_length(segment, places[i], at), word = absolute(segment->word[places[i]], places[i]);
        if (length && !(count && words[0].word == word))
            words[count++] = (Recalled){word, length};
    }
    return count;
}

/* Which of these words it is, or `count`. */
static uint32_t code_again(Fresh *model, Coder *coder, const Recalled *words, uint32_t count, uint32_t word)
{
    uint32_t number = 0;

    for (; number < count; number++) {
        uint32_t length = words[number].length;
        uint32_t contexts[AGAIN_INPUTS] = {
            length,
            model->came & 0xff,
            operation(words[number].word) << 2 | (length < 3 ? length : 3),
        };
        Slot *slots[AGAIN_INPUTS];
        for (uint32_t i = 0; i < AGAIN_INPUTS; i++)
            slots[i] = &model->slots[hash2(contexts[i], number << 2 | i) >> (32 - AGAIN_BITS)];
        if (mix_bit(coder, AGAIN, slots, model->again_weights[number], words[number].word == word))
            break;
    }
    model->came = model->came << 2 | (number < count ? 1 : count ? 2 : 0);
    return number;
}

/* What a word that may come again says of the next byte, if the bytes above are the same. */
static uint32_t expected(const Recalled *word, uint32_t above, uint32_t number)
{
    if (number < 3 && word->word >> 8 * (number + 1) != above)
        return 0;
    return word->length << 8 | byte_of(word->word, number) | 1 << 16;
}

/* The byte that a copy makes of the word, or NO_BYTE. */
static uint32_t copied(const Segment *segment, uint32_t at, uint32_t number)
{
    return number > 3 || segment->mark[at] >> number & 1 ? NO_BYTE : byte_of(segment->word[at], number);
}

/* Which weights are for a byte: they are learnt apart for words that are new as a whole, and for the new and the copied
   bytes of others. */
static uint32_t set_of(const Segment *segment, uint32_t at, uint32_t number)
{
    uint32_t part = 0;

    if ((segment->mark[at] & MARK_UNKNOWN) != MARK_UNKNOWN)
        part = copied(segment, at, number) == NO_BYTE ? 1 : 2;
    return (part * 4 + number) * 2;
}

uint32_t fresh_word(Fresh *model, Coder *coder, const Segment *segment, Recall *recall, uint32_t at)
{
    Recalled words[RECALLED] = {{0, 0}, {0, 0}};
    Table table = {model->groups, FRESH_BITS};
    uint32_t word = coder->decoding ? 0 : absolute(segment->result[at], at);
    uint32_t count = recalled(recall, segment, at, words), above = 0;
    uint32_t number = code_again(model, coder, words, count, word);

    if (number < count)
        return relative(words[number].word, at);
    uint32_t before = absolute_before(segment, at, 1), second = absolute_before(segment, at, 2);
    uint32_t form = operation(before), forms = operation(second) << 11 | form;
    for (number = 4; number--;) {
        uint32_t last = above & 0xff, top = number < 3 ? above >> 8 * (2 - number) : 0;
        uint32_t contexts[FRESH_INPUTS] = {
            above,
            last,
            hash2(above, forms),
            hash2(above, hash2(forms, operation(absolute_before(segment, at, 3)))),
            last << 8 | before >> 24,
            top << 16 | (before & REGISTER) << 8 | (second & REGISTER),
            byte_of(second, number) << 8 | byte_of(absolute_before(segment, at, ROW), number),
            expected(&words[0], above, number),
            expected(&words[1], above, number),
            copied(segment, at, number) << 9 | copied(segment, at, number - 1),
            hash2(copied(segment, at, number), forms),
        };
        for (uint32_t i = 0; i < FRESH_INPUTS; i++)
            contexts[i] = hash(numbered(contexts[i], number << 8 | i));
        above = above << 8 | mix_byte(coder, TELLING, &table, contexts, model->weights[set_of(segment, at, number)],
                                      byte_of(word, number));
    }
    return relative(above, at);
}
