/* The table of copies: rows of a size, a gap before it, and the step of the shift (place in the base less place in the
   result) from the row before.

   Most rows go on from one of a few shifts that were there before, or end a short excursion and return to one: these
   are tracks, the one that was used last first. The other rows jump, to places that are often known as well. Runs of
   types and names, taken from the base in another order, are copies of another measure. */

#ifndef EDGESYNC_MIXING_COPIES_H
#define EDGESYNC_MIXING_COPIES_H

#include "numbers.h"

enum { COPIES_TRACKS = 7, COPIES_PLACES = 12 };

typedef struct {
    uint64_t shift;  /* of its last row */
    uint64_t before; /* what the shift was before this row */
    uint64_t end;    /* where the row ends in the result */
} Track;

/* What a row at a place of the base was like. Places that meet share an entry. */
typedef struct {
    uint64_t size;
    uint64_t next; /* where the jump went that followed a jump to this place */
} Place;

/* What came after rows of a gap and a size: the next row's, and where it jumped to. Rows that meet share an entry. */
typedef struct {
    uint64_t gap, size, place;
} Sequel;

/* All rows so far. */
typedef struct {
    Track tracks[COPIES_TRACKS];
    Place places[1 << COPIES_PLACES];
    Sequel sequels[1 << COPIES_PLACES];
    uint32_t kinds[3];             /* of the last rows, the youngest first: number of a track, or a jump */
    uint64_t sizes[2], gaps[2];
    uint64_t step;                 /* of the last row on its track */
    uint64_t jump;                 /* where the last jump went */
    uint64_t shift, end;           /* of the last row */
} Copies;

/* One row. */
typedef struct {
    uint64_t size, gap, step;
} Copy;

/* Code the next row. Gives 0 if this is not how the encoder tells it. */
int copies_row(Copies *copies, Numbers *model, Coder *coder, Copy *row);

#endif
