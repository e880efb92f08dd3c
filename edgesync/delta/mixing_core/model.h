/* What models are made of: slots that learn a probability, tables that find the slots of a context, and the mixer.

   A model looks at what is coded already and names some contexts ("the byte before", "the word that this branch meant").
   Each context has its own slots, each slot an opinion on the next bit. The mixer adds the opinions in the logistic
   domain, where certainty counts, with weights that learn which contexts to believe:

       opinion = ln(p / (1 - p))        p(bit is 1) = 1 / (1 + e^-(sum of weight * opinion))

   Everything is whole numbers, so that each machine computes the same. Memory of zeros is a model that has seen nothing. */

#ifndef EDGESYNC_MIXING_MODEL_H
#define EDGESYNC_MIXING_MODEL_H

#include <stdint.h>
#include <string.h>

#include "coder.h"

_Static_assert(-3 >> 1 == -2, "shifts of negative numbers have to round down");

enum {
    OPINION_BITS = 8,     /* opinions are in 1/256 */
    OPINION_MOST = 2047,  /* 8: one in 3,000 */
    WEIGHT_BITS = 16,     /* weights are in 1/65536 */
    WEIGHT_MOST = 1 << 19,
    PROBABILITY_HALF = 1 << 15,
    PROBABILITY_LEAST = 32, /* of what the coder is told: a surprise costs 11 bits at most */
    COUNT_MOST = 30,      /* decisions after which a slot's rate falls no more */
    LEARNING = 6,         /* how fast weights follow: in 2^-18 for errors and opinions as they are held */
    INPUTS_MOST = 24,     /* contexts of one decision */
    NIBBLE_NODES = 15,    /* decisions in a tree of four bits */
};

/* The tables below, all computed with whole numbers; once, before any coding. */
void model_prepare(void);

extern uint16_t model_squash[2 * OPINION_MOST + 1]; /* opinion + OPINION_MOST -> probability */
extern int16_t model_stretch[4096];                 /* probability / 16 -> opinion */
extern uint16_t model_rate[COUNT_MOST + 1];         /* decisions seen -> part of the error that is learnt, in 1/65536 */
extern int16_t model_confidence[COUNT_MOST + 1];    /* decisions seen -> weight of the opinion, in 1/256 */

/* One decision in one context. */
typedef struct {
    uint16_t probability; /* of a 1; means nothing while count is 0 */
    uint16_t count;       /* decisions seen, at most COUNT_MOST */
} Slot;

/* The decisions of four bits in one context: as long as a line of the cache, so that they cost one miss. */
typedef struct {
    uint32_t check; /* the context's hash with its lowest bit set; 0: free */
    Slot nodes[NIBBLE_NODES];
} Group;

/* 2^bits groups, at least two, on a boundary of 64 bytes. */
typedef struct {
    Group *groups;
    int bits;
} Table;

/* Spread numbers over 32 bits. */
static inline uint32_t hash(uint32_t value)
{
    value *= 0x9e3779b1;
    value ^= value >> 15;
    value *= 0x85ebca6b;
    return value ^ value >> 13;
}

static inline uint32_t hash2(uint32_t one, uint32_t other)
{
    return hash(hash(one) + other);
}

/* The group of the context with this hash. Of its two places it takes the other's who has seen less, if it has none. */
static inline Group *table_find(const Table *table, uint32_t context)
{
    uint32_t at = context >> (32 - table->bits), check = context | 1;
    Group *first = &table->groups[at], *second = &table->groups[at ^ 1];

    if (first->check == check)
        return first;
    if (second->check == check)
        return second;
    if (second->nodes[0].count < first->nodes[0].count)
        first = second;
    memset(first, 0, sizeof *first);
    first->check = check;
    return first;
}

static inline int32_t slot_opinion(const Slot *slot)
{
    return model_stretch[slot->probability >> 4] * model_confidence[slot->count] >> 8;
}

static inline void slot_learn(Slot *slot, int bit)
{
    uint32_t probability = slot->count ? slot->probability : PROBABILITY_HALF;
    uint32_t rate = model_rate[slot->count];

    if (bit)
        probability += (65535 - probability) * rate >> 16;
    else
        probability -= probability * rate >> 16;
    slot->probability = (uint16_t)probability;
    if (slot->count < COUNT_MOST)
        slot->count++;
}

static inline int32_t clamp(int32_t value, int32_t most)
{
    return value > most ? most : value < -most ? -most : value;
}

static inline uint32_t mix(int inputs, const int32_t *weights, const int32_t *opinions)
{
    int32_t sum = 0; /* a product is below 2^31: WEIGHT_MOST times 1.25 OPINION_MOST; shifted, 24 of them are as well */

    for (int i = 0; i < inputs; i++)
        sum += weights[i] * opinions[i] >> 8;
    sum = clamp(sum >> (WEIGHT_BITS - 8), OPINION_MOST);
    uint32_t probability = model_squash[sum + OPINION_MOST];
    if (probability < PROBABILITY_LEAST)
        return PROBABILITY_LEAST;
    return probability > 65536 - PROBABILITY_LEAST ? 65536 - PROBABILITY_LEAST : probability;
}

static inline void mix_learn(int inputs, int32_t *weights, const int32_t *opinions, int32_t error)
{
    int32_t step = (error >> 2) * LEARNING;

    for (int i = 0; i < inputs; i++)
        weights[i] = clamp(weights[i] + ((opinions[i] * step + (1 << 15)) >> 16), WEIGHT_MOST);
}

/* Code one decision with the slots of all its contexts and the weights of one small context. */
static inline int mix_bit(Coder *coder, int inputs, Slot *const *slots, int32_t *weights, int bit)
{
    int32_t opinions[INPUTS_MOST];

    for (int i = 0; i < inputs; i++)
        opinions[i] = slot_opinion(slots[i]);
    uint32_t probability = mix(inputs, weights, opinions);
    bit = coder_bit(coder, probability, bit);
    mix_learn(inputs, weights, opinions, (bit ? 65535 : 0) - (int32_t)probability);
    for (int i = 0; i < inputs; i++)
        slot_learn(slots[i], bit);
    return bit;
}

/* Code four bits, the highest first, with the groups of all their contexts. */
static inline uint32_t mix_nibble(Coder *coder, int inputs, Group *const *groups, int32_t *weights, uint32_t nibble)
{
    Slot *slots[INPUTS_MOST];
    uint32_t node = 1; /* the bits so far behind a 1: numbers the nodes of the tree */

    for (int shift = 3; shift >= 0; shift--) {
        for (int i = 0; i < inputs; i++)
            slots[i] = &groups[i]->nodes[node - 1];
        node = node << 1 | (uint32_t)mix_bit(coder, inputs, slots, weights, nibble >> shift & 1);
    }
    return node & 15;
}

#endif
