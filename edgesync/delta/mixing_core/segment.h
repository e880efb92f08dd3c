/* What is known of a segment before its stream: the words as they were copied and predicted, and what they are. */

#ifndef EDGESYNC_MIXING_SEGMENT_H
#define EDGESYNC_MIXING_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

enum {
    KINDS = 16,        /* of references; edgesync/delta/kinds.py names those that there are */
    PLAIN = 0,         /* no reference */
    ADR = 4, PAGE = 6, /* from the one to the other: kinds whose bits are straightened */
    BEFORE = 8,        /* words of zeros in front of the first, for who looks back */
    NEAR = 7,          /* words to the next edge of a copy, at most; more is as far */
    MARK_UNKNOWN = 15, /* a bit for each byte of a word, the lowest first, that no copy makes */
    MARK_EDGE = 16,    /* a copy begins in this word, or behind the one before it */
    MARK_NEAR = 5,     /* bits from here on: words to the next edge; filled in by segment_measure */
};

typedef struct {
    uint32_t count;
    const uint8_t *kind;    /* of the reference in each word */
    const uint32_t *target; /* what it refers to, in the base: the low half of the address */
    uint8_t *mark;
    uint32_t *word;         /* the draft, and from the first word on the result; bytes that no copy makes are 0 */
    const uint32_t *result; /* encoding: what the words shall become */
} Segment;

static inline uint32_t kind_at(const Segment *segment, uint32_t at)
{
    return segment->kind[at] & (KINDS - 1);
}

/* The word `back` before this one. */
static inline uint32_t word_before(const Segment *segment, uint32_t at, uint32_t back)
{
    return segment->word[(ptrdiff_t)at - (ptrdiff_t)back];
}

static inline uint32_t byte_of(uint32_t word, size_t number)
{
    return word >> 8 * number & 0xff;
}

/* The 11 bits of an instruction that say, more or less, what it does. */
static inline uint32_t operation(uint32_t word)
{
    return word >> 21;
}

/* A call or an ADRP by where it refers to and not by how far that is, the first word of the segment being 0: so it looks
   the same wherever it stands. Other words stay as they are. */
static inline uint32_t moved(uint32_t word, uint32_t calls, uint32_t pages)
{
    if (word >> 26 == 0x25)
        return (word & 0xfc000000) | ((word + calls) & 0x03ffffff);
    if ((word & 0x9f000000) == 0x90000000) {
        uint32_t distance = ((word >> 5 & 0x7ffff) << 2 | (word >> 29 & 3)) + pages;
        return (word & 0x9f00001f) | (distance >> 2 & 0x7ffff) << 5 | (distance & 3) << 29;
    }
    return word;
}

static inline uint32_t absolute(uint32_t word, uint32_t at)
{
    return moved(word, at, at >> 10);
}

static inline uint32_t relative(uint32_t word, uint32_t at)
{
    return moved(word, -at, -(at >> 10));
}

/* The word `back` before this one, as what it refers to. */
static inline uint32_t absolute_before(const Segment *segment, uint32_t at, uint32_t back)
{
    return absolute(word_before(segment, at, back), at - back);
}

/* Words from bytes and back, the lowest byte first whatever the machine's own order is. */
static inline void words_read(uint32_t *words, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++, bytes += 4)
        words[i] = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline void words_write(uint8_t *bytes, const uint32_t *words, size_t count)
{
    for (size_t i = 0; i < 4 * count; i++)
        bytes[i] = (uint8_t)byte_of(words[i / 4], i % 4);
}

/* Mark how far the next edge is. */
static inline void segment_measure(Segment *segment)
{
    uint32_t distance = NEAR;

    for (uint32_t at = segment->count; at--;) {
        segment->mark[at] = (uint8_t)(segment->mark[at] & (MARK_UNKNOWN | MARK_EDGE)) | (uint8_t)(distance << MARK_NEAR);
        distance = segment->mark[at] & MARK_EDGE ? 1 : distance < NEAR ? distance + 1 : NEAR;
    }
}

/* A distance in four steps: 0, from 1, from 3, from NEAR on. */
static inline uint32_t step_of(uint32_t distance)
{
    return distance == 0 ? 0 : distance < 3 ? 1 : distance < NEAR ? 2 : 3;
}

#endif
