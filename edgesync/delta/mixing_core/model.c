#include "model.h"

uint16_t model_squash[2 * OPINION_MOST + 1];
int16_t model_stretch[4096];
uint16_t model_rate[COUNT_MOST + 1];
int16_t model_confidence[COUNT_MOST + 1];

/* squash(x) = 1 / (1 + e^-x), with e^-x by steps of 1/256. Exact to the last bit but one, and symmetric. */
static void prepare_squash(void)
{
    const uint64_t one = (uint64_t)1 << 32, step = 4278222805; /* e^(-1/256) in 2^-32 */
    uint64_t odds = one;

    for (int x = 0; x <= OPINION_MOST; x++) {
        uint64_t probability = (one << 16) / (one + odds);
        model_squash[OPINION_MOST + x] = (uint16_t)probability;
        model_squash[OPINION_MOST - x] = (uint16_t)(65536 - probability);
        odds = odds * step >> 32;
    }
}

/* The inverse, for the middle of each sixteenth of a 4,096th, towards 0. */
static void prepare_stretch(void)
{
    int x = 0;

    for (int i = 2048; i < 4096; i++) {
        while (x < OPINION_MOST && model_squash[OPINION_MOST + x + 1] <= i * 16 + 8)
            x++;
        model_stretch[i] = (int16_t)x;
        model_stretch[4095 - i] = (int16_t)-x;
    }
}

/* A slot's first decisions move it as a mean would; few decisions make a weak opinion, many one above its own. */
static void prepare_counts(void)
{
    for (int count = 0; count <= COUNT_MOST; count++) {
        model_rate[count] = (uint16_t)(65536 / (count + 2));
        model_confidence[count] = (int16_t)(320 * count / (count + 3));
    }
}

void model_prepare(void)
{
    prepare_squash();
    prepare_stretch();
    prepare_counts();
}
