#include "numbers.h"

enum {
    NUMBERS_LEARNING = 18,
    NUMBERS_PATIENCE = 15,
    FIRST_WEIGHT = 12000,
    TREE_BITS = 5, /* of a length; 31 and more is 31, then what is above it */
    TREE_MOST = (1 << TREE_BITS) - 1,
    TOP_BITS = 4,  /* bits behind the highest whose places are told apart */
    LOW_BITS = 4,  /* the last bits, which show where things are aligned */

    SET_SIGN = 1 << TREE_BITS, /* sets of weights: the nodes of a tree, the sign, the bits by their place */
    SET_BITS = SET_SIGN + 1,

    ROLE_GUESS = 0x10, /* what a context is of, beside its number: so that none is taken for another */
    ROLE_SIGN = 0x20,
    ROLE_REST = 0x40,
    ROLE_LOW = 0x60,
};

_Static_assert(SET_BITS + (TOP_BITS + 1) * (LOW_BITS + 1) <= NUMBERS_SETS, "a place for each set of weights");
_Static_assert(NUMBERS_CONTEXTS + NUMBERS_GUESSES <= NUMBERS_INPUTS, "each context of a length is an opinion");
_Static_assert(1 + NUMBERS_GUESSES + 1 <= NUMBERS_INPUTS, "each context of a bit is an opinion");

void numbers_start(Numbers *model)
{
    for (int column = 0; column < NUMBERS_COLUMNS; column++)
        for (int set = 0; set < NUMBERS_SETS; set++)
            for (int i = 0; i < NUMBERS_INPUTS; i++)
                model->weights[column][set][i] = FIRST_WEIGHT;
}

/* One decision, with the slots that these hashes find. */
static int decide(Numbers *model, Coder *coder, uint32_t column, uint32_t set, uint32_t inputs, const uint32_t *hashes,
                  int bit)
{
    Slot *slots[NUMBERS_INPUTS];

    for (uint32_t i = 0; i < inputs; i++)
        slots[i] = &model->slots[hashes[i] >> (32 - NUMBERS_BITS)];
    return mix_bit(coder, (Mixing){(int)inputs, NUMBERS_LEARNING, NUMBERS_PATIENCE}, slots, model->weights[column][set], bit);
}

uint32_t numbers_choice(Numbers *model, Coder *coder, uint32_t column, uint32_t inputs, const uint32_t *contexts,
                        uint32_t bits, uint32_t value)
{
    uint32_t node = 1, hashes[NUMBERS_INPUTS];

    for (uint32_t left = bits; left--;) {
        for (uint32_t i = 0; i < inputs; i++)
            hashes[i] = contexts[i] ^ node << (32 - NUMBERS_BITS); /* the nodes of a tree lie together */
        node = node << 1 | (uint32_t)decide(model, coder, column, node, inputs, hashes, (int)(value >> left & 1));
    }
    return node - (1u << bits);
}

/* The contexts of a decision on the whole number. */
static uint32_t whole(const Number *number, uint32_t role, uint32_t *hashes)
{
    uint32_t inputs = 0, name = number->column << 8;

    for (uint32_t i = 0; i < number->contexts; i++)
        hashes[inputs++] = hash2(number->context[i], role | name | i);
    for (uint32_t i = 0; i < number->guesses; i++)
        hashes[inputs++] = hash2(size_of(number->guess[i]), role | name | ROLE_GUESS | i);
    return inputs;
}

static uint32_t code_length(Numbers *model, Coder *coder, const Number *number, uint32_t length)
{
    uint32_t hashes[NUMBERS_INPUTS], inputs = whole(number, 0, hashes);

    if (length > NUMBERS_LONGEST) {
        model->is_lost = 1;
        length = NUMBERS_LONGEST;
    }
    uint32_t first = length < TREE_MOST ? length : TREE_MOST;
    length -= first;
    first = numbers_choice(model, coder, number->column, inputs, hashes, TREE_BITS, first);
    if (first < TREE_MOST)
        return first;
    hashes[0] = hash(number->column << 8 | ROLE_REST);
    return first + numbers_choice(model, coder, number->column, 1, hashes, TREE_BITS, length);
}

static uint32_t code_sign(Numbers *model, Coder *coder, const Number *number, uint32_t length, uint32_t sign)
{
    uint32_t hashes[NUMBERS_INPUTS], inputs = whole(number, ROLE_SIGN | length << 16, hashes);

    return (uint32_t)decide(model, coder, number->column, SET_SIGN, inputs, hashes, (int)sign);
}

/* How the bits so far stand to those of a guess, and what it says of the next one. */
static uint32_t relation(uint64_t prefix, uint64_t guess, uint32_t shift)
{
    uint64_t ahead = prefix - (guess >> shift >> 1);
    uint32_t bit = guess >> shift & 1;

    if (ahead == 0)
        return (shift < 7 ? shift : 7) << 4 | bit;
    return (ahead == 1 ? 4 : ahead + 1 == 0 ? 6 : is_negative(ahead) ? 8 : 10) | bit;
}

/* The contexts of the bit at `shift` of a number of which `prefix` is known. */
static uint32_t inside(const Number *number, uint32_t length, uint32_t sign, uint64_t prefix, uint32_t shift,
                       uint32_t *hashes)
{
    uint32_t inputs = 0, name = number->column << 8, known = (uint32_t)(prefix << 1 << shift);
    uint32_t place = hash(name << 8 | length << 8 | shift << 1 | sign);

    hashes[inputs++] = hash2((uint32_t)prefix, place + (uint32_t)(prefix >> 32));
    for (uint32_t i = 0; i < number->guesses; i++) {
        uint64_t vague = i ? 0 : number->vague, guess = number->guess[i];
        uint32_t stands = relation(prefix & ~(vague >> shift >> 1), magnitude(guess), shift);
        hashes[inputs++] = hash2(stands, is_negative(guess) << 16 | name | ROLE_GUESS | i);
    }
    if (shift < LOW_BITS) {
        uint32_t sum = (uint32_t)(sign ? -number->at : number->at) + known; /* or difference, but for the bits to come */
        hashes[inputs++] = hash2(name << 8 | sign << 8 | shift << 4 | (sum & ((1 << LOW_BITS) - 1)), ROLE_LOW);
    }
    return inputs;
}

/* The bits of a number behind the highest. */
static uint64_t code_bits(Numbers *model, Coder *coder, const Number *number, uint32_t length, uint32_t sign,
                          uint64_t value)
{
    uint64_t prefix = 1;

    for (uint32_t shift = length - 1; shift--;) {
        uint32_t hashes[NUMBERS_INPUTS], inputs = inside(number, length, sign, prefix, shift, hashes);
        uint32_t top = length - 2 - shift < TOP_BITS ? length - 2 - shift : TOP_BITS;
        uint32_t set = SET_BITS + top * (LOW_BITS + 1) + (shift < LOW_BITS ? shift : LOW_BITS);
        int bit = decide(model, coder, number->column, set, inputs, hashes, (int)(value >> shift & 1));
        prefix = prefix << 1 | (uint32_t)bit;
    }
    return prefix;
}

uint64_t numbers_unsigned(Numbers *model, Coder *coder, const Number *number, uint64_t value)
{
    uint32_t length = code_length(model, coder, number, bit_length(value));

    return length ? code_bits(model, coder, number, length, 0, value) : 0;
}

uint64_t numbers_signed(Numbers *model, Coder *coder, const Number *number, uint64_t value)
{
    uint32_t length = code_length(model, coder, number, bit_length(magnitude(value)));

    if (!length)
        return 0;
    uint32_t sign = code_sign(model, coder, number, length, is_negative(value));
    uint64_t found = code_bits(model, coder, number, length, sign, magnitude(value));
    return sign ? -found : found;
}
