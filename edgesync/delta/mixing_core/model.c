#include "model.h"

uint16_t model_squash[2 * OPINION_MOST + 1];
int16_t model_stretch[1 << SLOT_BITS];
uint16_t model_rate[PATIENCE_MOST + 1];

/* 1 / (1 + e^-x), with e^-x by steps of 1/256. */
static void prepare_squash(void)
{
    const uint64_t one = (uint64_t)1 << 32, step = 4278222805; /* e^(-1/256) in 2^-32 */
    uint64_t odds = one;

    for (int x = 0; x <= OPINION_MOST; x++) {
        uint64_t probability = ((one << 17) / (one + odds) + 1) >> 1;
        model_squash[OPINION_MOST + x] = (uint16_t)probability;
        model_squash[OPINION_MOST - x] = (uint16_t)(65536 - probability);
        odds = odds * step >> 32;
    }
}

/* The inverse, of the middle of a slot's step, towards 0. */
static void prepare_stretch(void)
{
    const int step = 1 << (PROBABILITY_BITS - SLOT_BITS), half = 1 << (SLOT_BITS - 1);
    int x = 0;

    for (int i = half; i < 2 * half; i++) {
        while (x < OPINION_MOST && model_squash[OPINION_MOST + x + 1] <= i * step + step / 2)
            x++;
        model_stretch[i] = (int16_t)x;
        model_stretch[2 * half - 1 - i] = (int16_t)-x;
    }
}

/* 1 / (n + 1.2): the first decisions count as in a mean of all, but for a fifth of one that nobody made. So a slot that
   has seen one decision is sure to five sixths, and how little that is, the mixer's weights learn. */
static void prepare_rate(void)
{
    for (int count = 0; count <= PATIENCE_MOST; count++)
        model_rate[count] = (uint16_t)(5 * 65536 / (5 * count + 6));
}

void model_prepare(void)
{
    prepare_squash();
    prepare_stretch();
    prepare_rate();
}
