#include "bytes.h"

static const Mixing MIXING = {.inputs = BYTES_INPUTS, .learning = 12, .patience = 16};

/* Half a byte, of which `node` tells the half before (16 to 31) or that there is none (1). */
static uint32_t half(Bytes *model, Coder *coder, const uint32_t *contexts, uint32_t node, uint32_t last, uint32_t nibble)
{
    Table table = {model->groups, BYTES_BITS};
    uint32_t set = (node == 1 ? 0 : 256) + last;
    Group *groups[BYTES_INPUTS];

    for (int i = 0; i < BYTES_INPUTS; i++)
        groups[i] = table_find(&table, hash2(contexts[i], node));
    return mix_nibble(coder, MIXING, groups, model->weights[set], nibble);
}

void bytes_code(Bytes *model, Coder *coder, uint8_t *bytes, size_t size)
{
    uint32_t before = 0; /* the last four bytes, the youngest lowest */

    mix_start(model->weights[0], BYTES_SETS * BYTES_INPUTS, (1 << WEIGHT_BITS) * 3 / 10);
    for (size_t at = 0; at < size; at++) {
        uint32_t contexts[BYTES_INPUTS];
        for (int order = 0; order < BYTES_INPUTS; order++)
            contexts[order] = hash2(before & ((1u << 8 * order) - 1), (uint32_t)order);
        uint32_t byte = coder->decoding ? 0 : bytes[at];
        uint32_t high = half(model, coder, contexts, 1, before & 0xff, byte >> 4);
        uint32_t low = half(model, coder, contexts, 16 + high, before & 0xff, byte & 15);
        byte = high << 4 | low;
        if (coder->decoding)
            bytes[at] = (uint8_t)byte;
        before = before << 8 | byte;
    }
}
