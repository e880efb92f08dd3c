/* The arithmetic coder: binary decisions with their probabilities become bytes, and bytes the decisions again.

   All decisions together name one number between 0 and 1. The coder keeps the interval in which it lies, as its next 32
   bits at both ends; every decision cuts the interval in two by its probability and keeps one part. A leading byte that
   both ends share is settled, written, and shifted out ("carryless range coder").

   One function, `coder_bit`, does both directions: it takes the decision where it encodes and gives it where it decodes.
   So a model is written once and cannot differ between the two.

   A stream has one form. Behind the settled bytes stands one that names a number of the interval that is left; the decoder
   reads zeros from there on. `coder_is_whole` takes exactly what the encoder writes: nothing missing, nothing behind. */

#ifndef EDGESYNC_MIXING_CODER_H
#define EDGESYNC_MIXING_CODER_H

#include <stddef.h>
#include <stdint.h>

enum { PROBABILITY_BITS = 16 }; /* probabilities are of a 1, from 1 to 65535 in 1/65536 */

typedef struct {
    uint32_t low, high;  /* the interval that is left; both ends belong to it, their leading bytes differ */
    uint32_t code;       /* decoding: the stream's bytes at the place of low and high */
    int decoding;        /* else encoding */
    const uint8_t *from; /* decoding: the stream */
    uint8_t *to;         /* encoding: where the stream goes */
    size_t size;         /* bytes in `from`, or room in `to` */
    size_t at;           /* bytes read or written, also beyond `size` */
} Coder;

static inline void coder_put(Coder *coder, uint8_t byte)
{
    if (coder->at < coder->size)
        coder->to[coder->at] = byte;
    coder->at++;
}

static inline void coder_shift(Coder *coder)
{
    if (coder->decoding) {
        coder->code = coder->code << 8 | (coder->at < coder->size ? coder->from[coder->at] : 0);
        coder->at++;
    } else {
        coder_put(coder, (uint8_t)(coder->low >> 24));
    }
    coder->low <<= 8;
    coder->high = coder->high << 8 | 0xff;
}

/* Code one decision. `bit` is read only where the coder encodes. */
static inline int coder_bit(Coder *coder, uint32_t probability, int bit)
{
    uint64_t range = coder->high - coder->low;
    uint32_t middle = coder->low + (uint32_t)(range * probability >> PROBABILITY_BITS);

    if (coder->decoding)
        bit = coder->code <= middle;
    if (bit)
        coder->high = middle;
    else
        coder->low = middle + 1; /* probability < 1, so middle < high */
    while ((coder->low ^ coder->high) >> 24 == 0)
        coder_shift(coder);
    return bit;
}

static inline Coder coder_encoding(uint8_t *to, size_t size)
{
    return (Coder){.low = 0, .high = 0xffffffff, .to = to, .size = size};
}

static inline Coder coder_decoding(const uint8_t *from, size_t size)
{
    Coder coder = {.low = 0, .high = 0xffffffff, .decoding = 1, .from = from, .size = size};
    for (int i = 0; i < 4; i++)
        coder_shift(&coder); /* leaves the interval as it is */
    return coder;
}

/* The byte that, followed by zeros, lies in the interval. It cannot overflow: low's leading byte is below high's. */
static inline uint8_t coder_last(const Coder *coder)
{
    return (uint8_t)((coder->low + 0x00ffffff) >> 24);
}

/* End the stream. Gives its bytes; more than `size` of them did not fit, and it is lost. */
static inline size_t coder_finish(Coder *coder)
{
    coder_put(coder, coder_last(coder));
    return coder->at;
}

/* Whether the stream, all of whose decisions are decoded, is what an encoder writes for them, byte for byte. */
static inline int coder_is_whole(const Coder *coder)
{
    size_t settled = coder->at - 4; /* four bytes are in `code` */
    return coder->size == settled + 1 && coder->code == (uint32_t)coder_last(coder) << 24;
}

#endif
