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
    OPINION_MOST = 2839,    /* opinions are in 1/256: 11.09, the most that a probability in 1/65536 can say */
    WEIGHT_BITS = 16,       /* weights are in 1/65536 */
    SLOT_BITS = 12,
    COUNT_BITS = 16 - SLOT_BITS,
    PATIENCE_MOST = (1 << COUNT_BITS) - 1,
    LEARNING_MOST = 32,
    ERROR_LEAST = 64,       /* a 1,024th: what was as certain as that teaches nothing, see mix_bit */
    INPUTS_MOST = 24,
    NIBBLE_NODES = 15,      /* decisions in a tree of four bits */
};

/* How the slots and the mixer of a model learn. Constants of the model, which the compiler makes part of its code. */
typedef struct {
    int inputs;   /* contexts of one decision, at most INPUTS_MOST */
    int learning; /* how fast weights follow, at most LEARNING_MOST */
    int patience; /* decisions after which a slot learns no slower, at most PATIENCE_MOST */
} Mixing;

/* The tables below, all computed with whole numbers; once, before any coding. */
void model_prepare(void);

extern uint16_t model_squash[2 * OPINION_MOST + 1];   /* opinion + OPINION_MOST -> probability, from 1 to 65535 */
extern int16_t model_stretch[1 << SLOT_BITS];         /* probability of a slot -> opinion */
extern uint16_t model_rate[PATIENCE_MOST + 1];        /* decisions seen -> part of the error that is learnt, in 1/65536 */

/* One decision in one context: the probability of a 1 in SLOT_BITS, its highest bit flipped so that zeros are one half,
   and in the low bits how many decisions it has seen, up to the model's patience. More bits make streams no smaller, for
   the mixer's weights carry certainty further. */
typedef uint16_t Slot;

static inline uint32_t slot_count(Slot slot)
{
    return slot & PATIENCE_MOST;
}

static inline uint32_t slot_probability(Slot slot)
{
    return slot >> COUNT_BITS ^ 1u << (SLOT_BITS - 1);
}

static inline int32_t slot_opinion(Slot slot)
{
    return model_stretch[slot_probability(slot)];
}

static inline Slot slot_learnt(Slot slot, int bit, int patience)
{
    uint32_t count = slot_count(slot), rate = model_rate[count];
    uint32_t probability = slot_probability(slot) << COUNT_BITS | 1u << (COUNT_BITS - 1); /* the middle of its step */

    if (bit)
        probability += (65535 - probability) * rate >> 16;
    else
        probability -= probability * rate >> 16;
    count += count < (uint32_t)patience ? 1 : 0;
    return (Slot)((probability >> COUNT_BITS ^ 1u << (SLOT_BITS - 1)) << COUNT_BITS | count);
}

/* The decisions of four bits in one context. Two lie in one line of the cache: to find a context costs one miss. */
typedef struct {
    uint16_t check; /* of the context's hash, with the lowest bit set; 0: free */
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

/* The same context under a number: cheaper than hash2, and good enough where what comes out is hashed, or was. */
static inline uint32_t numbered(uint32_t context, uint32_t number)
{
    return context + number * 0x9e3779b1;
}

/* The group of the context with this hash. Of its two places it takes the other's who has seen less, if it has none. */
static inline Group *table_find(const Table *table, uint32_t context)
{
    uint32_t at = context >> (32 - table->bits);
    uint16_t check = (uint16_t)(context | 1);
    Group *first = &table->groups[at], *second = &table->groups[at ^ 1];

    if (first->check == check)
        return first;
    if (second->check == check)
        return second;
    if (slot_count(second->nodes[0]) < slot_count(first->nodes[0]))
        first = second;
    memset(first, 0, sizeof *first);
    first->check = check;
    return first;
}

static inline uint32_t mix(Mixing mixing, const int32_t *weights, const int32_t *opinions)
{
    int64_t sum = 0, most = OPINION_MOST;

    for (int i = 0; i < mixing.inputs; i++)
        sum += (int64_t)weights[i] * opinions[i];
    sum >>= WEIGHT_BITS;
    return model_squash[(sum > most ? most : sum < -most ? -most : sum) + most];
}

/* Weights have no limit: they never come near that of their numbers, but for a stream made to do so; then they wrap. */
static inline void mix_learn(Mixing mixing, int32_t *weights, const int32_t *opinions, int32_t error)
{
    int32_t step = error * mixing.learning >> 2; /* times an opinion below 2^31 */

    for (int i = 0; i < mixing.inputs; i++)
        weights[i] = (int32_t)((uint32_t)weights[i] + (uint32_t)((opinions[i] * step + (1 << 15)) >> 16));
}

/* Code one decision with the slots of all its contexts and the weights of one small context.

   Where all was certain already and came true, nothing learns. That is the most frequent case by far, so it saves time;
   and the contexts that happened to be there too do not take the credit. */
static inline int mix_bit(Coder *coder, Mixing mixing, Slot *const *slots, int32_t *weights, int bit)
{
    int32_t opinions[INPUTS_MOST];

    for (int i = 0; i < mixing.inputs; i++)
        opinions[i] = slot_opinion(*slots[i]);
    uint32_t probability = mix(mixing, weights, opinions);
    bit = coder_bit(coder, probability, bit);
    int32_t error = (bit ? 65535 : 0) - (int32_t)probability;
    if (error <= ERROR_LEAST && error >= -ERROR_LEAST)
        return bit;
    mix_learn(mixing, weights, opinions, error);
    for (int i = 0; i < mixing.inputs; i++)
        *slots[i] = slot_learnt(*slots[i], bit, mixing.patience);
    return bit;
}

/* Code four bits, the highest first, with the groups of all their contexts. */
static inline uint32_t mix_nibble(Coder *coder, Mixing mixing, Group *const *groups, int32_t *weights, uint32_t nibble)
{
    Slot *slots[INPUTS_MOST];
    uint32_t node = 1; /* the bits so far behind a 1: numbers the nodes of the tree */

    for (int shift = 3; shift >= 0; shift--) {
        for (int i = 0; i < mixing.inputs; i++)
            slots[i] = &groups[i]->nodes[node - 1];
        node = node << 1 | (uint32_t)mix_bit(coder, mixing, slots, weights, nibble >> shift & 1);
    }
    return node & 15;
}

/* Code a byte, with the groups that its contexts, which are hashes, have in a table. `weights` are two sets, of the upper
   and the lower half. */
static inline uint32_t mix_byte(Coder *coder, Mixing mixing, const Table *table, const uint32_t *contexts, int32_t *weights,
                                uint32_t byte)
{
    uint32_t node = 1;

    for (int half = 0; half < 2; half++) {
        Group *groups[INPUTS_MOST];
        for (int i = 0; i < mixing.inputs; i++)
            groups[i] = table_find(table, numbered(contexts[i], node));
        node = node << 4 | mix_nibble(coder, mixing, groups, weights + half * mixing.inputs, half ? byte & 15 : byte >> 4);
    }
    return node & 0xff;
}

/* Weights with which the opinions of a model count at first. */
static inline void mix_start(int32_t *weights, int count, int32_t weight)
{
    for (int i = 0; i < count; i++)
        weights[i] = weight;
}

#endif
