#include "fresh.h"

enum {
    REGISTER = 31, /* bits of an instruction's first register, most often what it writes */
    NO_BYTE = 256,
    ROW = 6,       /* words of an entry in tables of relocations and symbols; half of them, every second, are alike in more */
};

static const Mixing AGAIN = {.inputs = AGAIN_INPUTS, .learning = 6, .patience = 20};
static const Mixing TELLING = {.inputs = FRESH_INPUTS, .learning = 8, .patience = 14};
static const Mixing PARTS = {.inputs = PART_INPUTS, .learning = 8, .patience = 30};

/* A word that may come again, and how many words before it are the same here and there. */
typedef struct {
    uint32_t word, length;
} Recalled;

void fresh_start(Fresh *model)
{
    mix_start(model->again_weights[0], RECALLED * AGAIN_INPUTS, (1 << WEIGHT_BITS) * 2 / 5);
    mix_start(model->weights[0], 4 * 2 * FRESH_INPUTS, (1 << WEIGHT_BITS) / 8);
    mix_start(model->part_weights[0], 2 * 4 * 2 * PART_INPUTS, (1 << WEIGHT_BITS) / 4);
}

/* Words that may come again, those after two words like the last before those after one. Gives how many. */
static uint32_t recalled(Recall *recall, const Segment *segment, uint32_t at, Recalled *words)
{
    uint32_t places[RECALLED] = {*recall_two(recall, segment, at), *recall_one(recall, segment, at)}, count = 0;

    for (uint32_t i = 0; i < RECALLED; i++) {
        uint32_t length = recall_length(segment, places[i], at), word = segment->word[places[i]];
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

uint32_t fresh_word(Fresh *model, Coder *coder, const Segment *segment, Recall *recall, uint32_t at)
{
    Recalled words[RECALLED] = {{0, 0}, {0, 0}};
    Table table = {model->groups, FRESH_BITS};
    uint32_t word = coder->decoding ? 0 : segment->result[at];
    uint32_t count = recalled(recall, segment, at, words), above = 0;
    uint32_t number = code_again(model, coder, words, count, word);

    if (number < count)
        return words[number].word;
    uint32_t before = word_before(segment, at, 1), second = word_before(segment, at, 2);
    uint32_t form = operation(before), forms = operation(second) << 11 | form;
    for (number = 4; number--;) {
        uint32_t last = above & 0xff, top = number < 3 ? above >> 8 * (2 - number) : 0;
        uint32_t contexts[FRESH_INPUTS] = {
            above,
            last,
            above & 0xffff,
            hash2(above, forms),
            hash2(above, hash2(forms, operation(word_before(segment, at, 3)))),
            last << 8 | byte_of(before, number),
            last << 8 | before >> 24,
            top << 16 | (before & REGISTER) << 8 | (second & REGISTER),
            byte_of(second, number) << 8 | byte_of(word_before(segment, at, ROW), number),
            expected(&words[0], above, number),
            expected(&words[1], above, number),
        };
        for (uint32_t i = 0; i < FRESH_INPUTS; i++)
            contexts[i] = hash2(contexts[i], number << 8 | i);
        above = above << 8 | mix_byte(coder, TELLING, &table, contexts, model->weights[number * 2], byte_of(word, number));
    }
    return above;
}

/* The byte of the draft, if there is one. */
static uint32_t copied(const Segment *segment, uint32_t at, uint32_t number)
{
    return number > 3 || segment->mark[at] >> number & 1 ? NO_BYTE : byte_of(segment->word[at], number);
}

uint32_t fresh_part(Fresh *model, Coder *coder, const Segment *segment, uint32_t at)
{
    Table table = {model->parts, PART_BITS};
    uint32_t before = word_before(segment, at, 1), second = word_before(segment, at, 2), row = word_before(segment, at, ROW);
    uint32_t word = coder->decoding ? 0 : segment->result[at], last = before >> 8, made = 0;

    for (uint32_t number = 0; number < 4; number++) { /* here the lowest first: in data as often as in code */
        uint32_t draft = copied(segment, at, number), is_new = draft == NO_BYTE;
        uint32_t name = number << 1 | is_new, same = byte_of(before, number);
        uint32_t contexts[PART_INPUTS] = {
            draft,
            last,
            hash2(same << 8 | byte_of(second, number), draft),
            byte_of(row, number) << 8 | byte_of(second, number),
            hash2(last, same),
            hash2(copied(segment, at, number + 1) << 8 | last >> 16, draft),
        };
        for (uint32_t i = 0; i < PART_INPUTS; i++)
            contexts[i] = hash2(contexts[i], name << 8 | i);
        uint32_t byte = mix_byte(coder, PARTS, &table, contexts, model->part_weights[name * 2], byte_of(word, number));
        made |= byte << 8 * number;
        last = last >> 8 | byte << 16;
    }
    return made;
}
